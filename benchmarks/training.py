"""Measure the cost of training and of a bare step of the network: `python -m benchmarks.training --data DIR_OR_ID`.

For a stage with a frozen encoder, which reads cached grids, and for one that trains the encoder too, the table gives
the processor time of a step: the network alone (forward, backward and optimizer on one batch in memory), the loader
alone (reading, decoding, augmentation and batching), and the whole training loop with loader and logging. The last
column is the time per validation image. Other work on the machine does not lengthen processor time, and the parts take
turns, so that changes of the processor's speed affect all alike. On a GPU all times are by the clock. Weights are
random, which does not change the cost.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imgcap.data import FLICKR8K
from imgcap.data.loading import load_rows
from imgcap.inference.engines.device import device
from imgcap.inference.files import describe
from imgcap.training.build import build
from imgcap.training.recipe import Recipe
from imgcap.training.run import save_description
from imgcap.training.trainer import CaptionTrainer, make_trainer, training_arguments

ROUNDS = 3


def timed(work: Callable[[], Any]) -> float:
    """Return the seconds of processor time that some work takes; by the clock if a GPU does it."""
    if device().type == "cpu":
        started = time.process_time()
        work()
        return time.process_time() - started
    torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - started


def make(recipe: Recipe) -> CaptionTrainer:
    """Return the trainer of a stage, which neither validates nor saves while it trains."""
    training, validation = (
        load_rows(recipe.data, split, limit)
        for split, limit in (("train", recipe.train_pictures), ("validation", recipe.validation_pictures))
    )
    model, processor = build(recipe, training.captions)
    arguments = training_arguments(recipe)
    arguments.set_evaluate("no").set_save("no").load_best_model_at_end = False
    with tempfile.TemporaryDirectory() as folder:
        save_description(Path(folder), model, processor, training)
        description = describe(Path(folder), folder)
    return make_trainer(recipe, arguments, model, processor, training, validation, description)


def bare_steps(trainer: CaptionTrainer, batch: dict[str, Any], steps: int) -> None:
    """Train on one batch repeatedly."""
    model, optimizer = trainer.model.train(), trainer.create_optimizer()
    for _ in range(steps):
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, dict(batch))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), trainer.args.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()


def row(name: str, recipe: Recipe) -> str:
    """Measure one stage, and return its row of the table."""
    trainer = make(recipe)
    loader = trainer.get_train_dataloader()
    steps, batch = len(loader), next(iter(loader))
    bare_steps(trainer, batch, 1)  # the first step sets things up
    seconds: dict[str, list[float]] = {"step": [], "loader": [], "loop": []}
    for _ in range(ROUNDS):
        seconds["step"].append(timed(lambda: bare_steps(trainer, batch, steps)))
        seconds["loader"].append(timed(lambda: [None for _ in loader]))
        seconds["loop"].append(timed(trainer.train))
    step, load, loop = (float(np.median(values)) / steps for values in seconds.values())
    validation = timed(trainer.evaluate) / recipe.validation_pictures
    milliseconds = [f"{1e3 * value:.0f}" for value in (step, load, loop)]
    return f"| {name} | {' | '.join(milliseconds)} | {loop / step:.2f} | {1e3 * validation:.0f} |"


def main(source: str, images: int, batch_size: int) -> None:
    """Print the table."""
    print("| stage | network, ms a step | loader | whole loop | loop / network | validation, ms an image |")
    print("|---|---|---|---|---|---|")
    for name, rate in (("frozen encoder, cached grids", 0.0), ("encoder trained", 1e-5)):
        with tempfile.TemporaryDirectory() as folder:
            recipe = Recipe(
                output=str(Path(folder) / "run"), cache=folder, data=source, encoder_weights="none", epochs=1,
                min_count=1, batch_size=batch_size, encoder_learning_rate=rate, feature_views=1,
                workers=0 if device().type == "cpu" else None,  # other processes' time is not counted on the CPU
                train_pictures=images, validation_pictures=min(images, 64),
            )  # fmt: skip
            print(row(name, recipe), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=FLICKR8K)
    parser.add_argument("--images", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    arguments = parser.parse_args()
    main(arguments.data, arguments.images, arguments.batch_size)
