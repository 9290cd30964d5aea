"""Adapt transformers' Trainer to captioners: two learning rates, two objectives, and an evaluation of captions."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Trainer, TrainerControl, TrainingArguments
from transformers.modeling_outputs import BaseModelOutput

from imgcap.data.augmentation import augmentation
from imgcap.data.collator import CaptionCollator, ImageCollator
from imgcap.data.grids import cached_views
from imgcap.data.loading import CaptionedImages
from imgcap.errors import InputError
from imgcap.evaluation.metrics import score
from imgcap.evaluation.run import encode, write_captions
from imgcap.inference.engines.device import device, multiplies_bfloat16
from imgcap.inference.files import Description
from imgcap.inference.engines.engine import Encoding
from imgcap.inference.threads import usable_cores
from imgcap.inference.engines.torch_engine import TorchEngine
from imgcap.inference.decoding.wording import breaks_off
from imgcap.inference.writer import Writer
from imgcap.model import ImgcapForImageCaptioning, ImgcapProcessor
from imgcap.training.recipe import Recipe
from imgcap.training.self_critical import SelfCriticalLoss

_GRIDS_TOGETHER = 64  # cached grids that are decoded in one batch


class TrainingRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Images or their cached grids, each with its captions; one of several views is drawn each time."""

    def __init__(self, rows: CaptionedImages, views: list[NDArray[np.float16]] | None = None) -> None:
        self.rows = rows
        self.views = views

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        captions = self.rows.captions[row]
        if self.views is None:
            return {"image": self.rows.images[row], "captions": captions}
        view = self.views[int(torch.randint(len(self.views), ()))]
        return {"features": view[row], "captions": captions}


class CaptionTrainer(Trainer):
    """Trains a captioner, and scores its captions of the validation split."""

    control: TrainerControl

    def __init__(
        self,
        *args: Any,
        encoder_learning_rate: float,
        validation: CaptionedImages,
        validation_grids: NDArray[np.float16] | None,
        processor: ImgcapProcessor,
        description: Description,
        encoder_stages: int = 0,
        self_critical: SelfCriticalLoss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.self_critical = self_critical
        self.encoder_learning_rate = encoder_learning_rate
        self.encoder_stages = encoder_stages
        self.validation = validation
        self.validation_grids = validation_grids
        self.processor = processor
        self.description = description

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ARG002 - the Trainer's signature
        """Return AdamW; the encoder has its own rate, and no weight decay, which would pull its weights to zero."""
        named = [(name, p) for name, p in self.model.named_parameters() if p.requires_grad]
        decayed = set(self.get_decay_parameter_names(self.model))
        groups: list[dict[str, Any]] = [
            {"params": [p for n, p in named if n.startswith("encoder.")], "lr": self.encoder_learning_rate,
             "weight_decay": 0.0},
            {"params": [p for n, p in named if not n.startswith("encoder.") and n in decayed]},
            {"params": [p for n, p in named if not n.startswith("encoder.") and n not in decayed],
             "weight_decay": 0.0},
        ]  # fmt: skip
        self.optimizer = torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=self.args.learning_rate, betas=(0.9, 0.98), weight_decay=self.args.weight_decay,
        )  # fmt: skip
        return self.optimizer

    def compute_loss(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Return the self-critical loss if the stage has one, otherwise cross-entropy with the Trainer's smoothing."""
        if "encoder_outputs" in inputs:
            inputs["encoder_outputs"] = self._finish(inputs["encoder_outputs"][0])
        if self.self_critical is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        return self.self_critical(model, **inputs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log the values; with a self-critical loss, add the last batch's mean reward and share of ended captions."""
        if self.self_critical is not None and "loss" in logs:
            logs |= {"reward": self.self_critical.reward, "ended": self.self_critical.ended}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Return BLEU, ROUGE-L and CIDEr of the validation captions as users would see them (`imgcap evaluate`).

        They come with the share of captions that are cut off ("a man in a"), which a wrong reward would make common.
        """
        was_training = self.model.training
        writer = Writer(TorchEngine(self.model, self.args.device), self.description)
        captions = [candidate.text for candidate in write_captions(writer, self._encode_validation())]
        self.model.train(was_training)
        scores = score(captions, self.validation.captions, resamples=0, with_meteor=False)
        metrics = {f"eval_{name}": value for name, value in scores.items() if isinstance(value, float)}
        metrics["eval_broken_off"] = float(np.mean([breaks_off(caption) for caption in captions]))
        self.log(metrics)

        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def adopt(self, name: str, weights: Mapping[str, Tensor]) -> None:
        """Load `weights` into the model unless the best checkpoint scores higher; log the result under `name`."""
        best = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights)
        cider = self.evaluate()["eval_CIDEr"]
        kept = cider >= cast("float", self.state.best_metric)
        if not kept:
            self.model.load_state_dict(best)
        self.log({f"{name}_CIDEr": cider, f"{name}_kept": kept})

    def _encode_validation(self) -> Iterator[Encoding]:
        cached = self.validation_grids is not None
        encodings = self._finished() if cached else encode(self.model, self.processor, self.validation)
        while True:
            with torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self.args.bf16):
                encoding = next(encodings, None)
            if encoding is None:
                return
            yield Encoding(encoding.grid.float())

    def _finished(self) -> Iterator[Encoding]:
        stored = cast("NDArray[np.float16]", self.validation_grids)
        for start in range(0, len(stored), _GRIDS_TOGETHER):
            cached = torch.from_numpy(stored[start : start + _GRIDS_TOGETHER].astype(np.float32))
            with torch.inference_mode():
                yield Encoding(self._finish(cached.to(self.args.device)).last_hidden_state)

    def _finish(self, cached: Tensor) -> BaseModelOutput:
        """Return the grid of cached features, which are either that grid or the input of the last stages."""
        if not self.encoder_stages:
            return BaseModelOutput(last_hidden_state=cached)
        return cast("ImgcapForImageCaptioning", self.model).encoder.finish(cached, self.encoder_stages)


def training_arguments(recipe: Recipe) -> TrainingArguments:
    """Return the Trainer's arguments; under `accelerate launch` the processes share the recipe's batch.

    Raises:
        InputError: the batch cannot be shared equally, or the objective cannot be trained in several processes.
    """
    arguments = TrainingArguments(
        output_dir=str(Path(recipe.output) / "checkpoints"),
        num_train_epochs=recipe.epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_steps,
        lr_scheduler_type="cosine",
        label_smoothing_factor=0.0 if recipe.self_critical else recipe.label_smoothing,
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.bf16 and multiplies_bfloat16(device()),
        use_cpu=device().type == "cpu",
        seed=recipe.seed,
        remove_unused_columns=False,
        logging_steps=20,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=max(2, recipe.average_last + 1),  # the best one may be older than the averaged ones
        load_best_model_at_end=True,
        metric_for_best_model="CIDEr",
        greater_is_better=True,
        report_to="none",
    )
    processes = arguments.world_size
    if recipe.self_critical and processes > 1:
        raise InputError("Self-critical training draws captions word by word and runs in one process: leave accelerate "
                         "launch out for this stage.")  # fmt: skip
    if recipe.batch_size % processes:
        raise InputError(f"batch_size is {recipe.batch_size} and cannot be shared equally by {processes} processes.")
    arguments.per_device_train_batch_size = recipe.batch_size // processes
    # Each process that trains has its own workers, and needs a core for itself.
    chosen = max(1, usable_cores() // processes - 1) if recipe.workers is None else recipe.workers
    arguments.dataloader_num_workers = 0 if recipe.cached else chosen
    return arguments


def make_trainer(
    recipe: Recipe,
    arguments: TrainingArguments,
    model: ImgcapForImageCaptioning,
    processor: ImgcapProcessor,
    training: CaptionedImages,
    validation: CaptionedImages,
    description: Description,
) -> CaptionTrainer:
    """Return the stage's trainer; a frozen encoder's grids are computed first.

    Args:
        recipe: recipe of the stage.
        arguments: the result of `training_arguments`.
        model: the captioner that the stage starts from.
        processor: the model's processor.
        training: images and captions to train on.
        validation: images and captions that choose the best checkpoint.
        description: description of the captioner, whose default decoding writes the validation captions.
    """
    _choose_trained_parts(recipe, model)
    collators = ImageCollator if recipe.self_critical else CaptionCollator
    views = grids = None
    if recipe.cached:
        model.to(arguments.device)
        with arguments.main_process_first(desc="features"):  # the others read what the first process wrote
            views = _views(recipe, model, processor, training, recipe.feature_views)
            [grids] = _views(recipe, model, processor, validation, 1)
        collator = collators(processor.tokenizer)
    else:
        augment = augmentation(recipe.augmentation, model.config.image_size)
        collator = collators(processor.tokenizer, processor.image_processor, augment)
    return CaptionTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=TrainingRows(training, views),
        eval_dataset=TrainingRows(validation),
        encoder_learning_rate=recipe.encoder_learning_rate,
        encoder_stages=recipe.stages,
        validation=validation,
        validation_grids=grids,
        processor=processor,
        description=description,
        self_critical=_self_critical_loss(recipe, processor, training) if recipe.self_critical else None,
    )


def _views(
    recipe: Recipe, model: ImgcapForImageCaptioning, processor: ImgcapProcessor, rows: CaptionedImages, views: int
) -> list[NDArray[np.float16]]:
    """Return the cached views of images, as the recipe's trained stages need them."""
    plain = CaptionCollator(processor.tokenizer, processor.image_processor)
    return cached_views(Path(recipe.cache), model, rows, plain, recipe.augmentation, views, stages=recipe.stages)


def _self_critical_loss(recipe: Recipe, processor: ImgcapProcessor, training: CaptionedImages) -> SelfCriticalLoss:
    return SelfCriticalLoss(
        training.captions,
        processor.tokenizer,
        num_captions=recipe.samples,
        max_words=recipe.max_length - 1,
        temperature=recipe.temperature,
        bleu_weight=recipe.bleu_weight,
    )


def _choose_trained_parts(recipe: Recipe, model: ImgcapForImageCaptioning) -> None:
    """Let only the parts of the model that the recipe trains require gradients.

    Raises:
        InputError: the encoder has fewer stages than the recipe trains.
    """
    model.encoder.requires_grad_(not recipe.cached)
    try:
        model.encoder.stages(recipe.stages)[1].requires_grad_()
    except ValueError as error:
        raise InputError(f"encoder_stages does not fit: {error}") from error
    if not recipe.train_shared:
        for shared in (model.embedding, model.lm_head, model.decoder.project):
            shared.requires_grad_(requires_grad=False)
