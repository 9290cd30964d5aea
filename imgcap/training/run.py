"""Train one stage of a captioner, and keep the best checkpoint by validation CIDEr.

The first stage trains a decoder on a frozen encoder, from cached grids. The next one starts from the first one's result
(`init_from`) and also trains the encoder, at a smaller rate. The last one trains on CIDEr-D itself
(`objective: self_critical`, see `imgcap.training.self_critical`).
"""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import copy
import json
from pathlib import Path
from typing import Any

import torch
from transformers.trainer_utils import get_last_checkpoint

from imgcap.data.loading import CaptionedImages, load_rows
from imgcap.evaluation.calibration import FAMILIAR_IMAGES, collect_features, fit_all, fit_document_frequencies, observe
from imgcap.evaluation.confidence import MIN_IMAGES
from imgcap.evaluation.run import collect, open_reference, save_scores, summarize, write_captions
from imgcap.inference.checkpoint import save_captioner
from imgcap.inference.files import describe
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor
from imgcap.training.averaging import average, interpolate, last_checkpoints
from imgcap.training.build import build, check_model
from imgcap.training.provenance import provenance_text
from imgcap.training.recipe import Recipe, check_output, save_recipe
from imgcap.training.trainer import make_trainer, training_arguments


def train(recipe: Recipe) -> dict[str, Any] | None:
    """Run one stage, and write the best checkpoint by validation CIDEr, its scores and its log into `recipe.output`.

    With `average_last` the mean of the last epochs' weights is tried too, and with `start_share` the mean of the best
    and the initial weights; either is kept if it scores at least as high as the best.

    Returns:
        The result of `imgcap.evaluation.run.summarize` for the validation split. Under `accelerate launch` the first
        process returns it, and the others return None.

    Raises:
        InputError: data, weights or recipe cannot be used, or the output folder holds another run.
    """
    check_output(recipe)
    check_model(recipe)
    arguments = training_arguments(recipe)
    torch.manual_seed(recipe.seed)
    output = Path(recipe.output)
    training = _load(recipe, "train", recipe.train_pictures)
    validation = _load(recipe, "validation", recipe.validation_pictures)
    model, processor = build(recipe, training.captions)
    start = copy.deepcopy(model.state_dict()) if recipe.start_share else {}
    with arguments.main_process_first(desc="description"):
        if arguments.should_save:
            save_description(output, model, processor, training)
            save_recipe(output / "recipe.yaml", recipe, model.config.to_dict())
    trainer = make_trainer(recipe, arguments, model, processor, training, validation, describe(output, recipe.output))
    checkpoint = get_last_checkpoint(str(output / "checkpoints")) if recipe.resume else None
    if recipe.epochs:
        trainer.train(resume_from_checkpoint=checkpoint)
    if recipe.average_last:
        trainer.adopt("average", average(last_checkpoints(output, recipe.average_last)))
    if recipe.start_share:
        trainer.adopt("start_share", interpolate(model.state_dict(), start, recipe.start_share))
    if not arguments.should_save:
        return None
    save_captioner(output, model.cpu(), processor)
    (output / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trainer.state.log_history))
    return _examine(recipe, output, training, validation)


def save_description(
    output: Path, model: ImgcapForImageCaptioning, processor: ImgcapProcessor, training: CaptionedImages
) -> None:
    """Write the files that determine decoding before the weights exist, so that validation decodes as serving does."""
    output.mkdir(parents=True, exist_ok=True)
    model.config.save_pretrained(output)
    model.generation_config.save_pretrained(output)
    processor.save_pretrained(output)
    fit_document_frequencies(output, training)


def _load(recipe: Recipe, split: str, limit: int) -> CaptionedImages:
    return load_rows(
        recipe.data, split, limit or None, image_column=recipe.image_column, caption_columns=recipe.caption_columns
    )


def _examine(recipe: Recipe, output: Path, training: CaptionedImages, validation: CaptionedImages) -> dict[str, Any]:
    """Score and calibrate the finished files with the code of `imgcap evaluate`, so that it gives the same scores.

    The validation images are encoded once for both. If they are too few for a calibration, only captions are written.
    """
    writer, encode = open_reference(recipe.output)
    observed = observe(writer, encode(validation)) if len(validation) >= MIN_IMAGES else None
    written = observed.written["normal"].candidates if observed else write_captions(writer, encode(validation))
    captioned = collect(validation, written)
    scores = summarize(recipe.output, "validation", captioned)
    (output / "captions.json").write_text(json.dumps(captioned.captions, indent=0) + "\n")
    save_scores(output, captioned, scores)
    (output / "provenance.md").write_text(
        provenance_text(recipe.init_from, recipe.encoder_weights, recipe.encoder_from, recipe.mix, recipe.join)
    )
    if observed:
        learned = collect_features(encode(training.head(FAMILIAR_IMAGES)))
        fit_all(output, observed, validation, learned)
    return scores
