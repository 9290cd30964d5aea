"""Training: one typed recipe, transformers' Trainer, the best checkpoint by validation CIDEr.

A recipe is one stage. The first trains a decoder on a frozen encoder, from cached grids; the next starts from its
result (`init_from`) and tunes the encoder too, at a smaller rate; the last one trains on CIDEr-D itself
(`objective: self_critical`, see `imgcap.training.self_critical`).
"""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import datasets
import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from safetensors.torch import load_file
from transformers import GenerationConfig, Trainer, TrainerControl, TrainingArguments
from transformers.modeling_outputs import BaseModelOutput
from transformers.trainer_utils import get_last_checkpoint

from imgcap.data import loading as data
from imgcap.inference.alternatives import breaks_off
from imgcap.hub.card import read_provenance, write_card, write_confidence
from imgcap.inference.checkpoint import average, interpolate, last_checkpoints, load_captioner, save_captioner
from imgcap.evaluation.confidence import MIN_IMAGES, calibrate_captioner
from imgcap.data.loading import AugmentationConfig, CaptionCollator
from imgcap.errors import InputError
from imgcap.evaluation.run import caption_split, picture_batches, summarize, write_captions
from imgcap.data.grids import cached_views
from imgcap.evaluation.metrics import score
from imgcap.evaluation.mistakes import count_mistakes
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapImageProcessor, ImgcapProcessor
from imgcap.training.self_critical import PictureCollator, SelfCriticalLoss

logger = logging.getLogger(__name__)


@dataclass
class Recipe:
    """One stage of training. A YAML file gives what differs from these defaults; `key=value` overrides both."""

    output: str = "runs/captioner"  # folder for checkpoints, the log and the finished captioner
    data: str = data.FLICKR8K  # folder or Hub id of the captions
    cache: str = "cache/features"  # folder for the grids of a frozen encoder

    # model; all but dropout are ignored where init_from is given
    init_from: str = ""  # folder or Hub id of a captioner to go on from
    encoder: str = "resnet50"  # a torchvision CNN
    encoder_weights: str = "IMAGENET1K_V1"  # torchvision's name, a file, a captioner's folder, or "none"
    decoder: str = "attention"  # or merge
    hidden_size: int = 512  # width of words, LSTMs and grid
    num_attention_heads: int = 8
    dropout: float = 0.5
    tie_word_embeddings: bool = True
    min_count: int = 5  # a word seen less often in the training captions is <unk>

    # optimisation
    objective: str = "cross_entropy"  # or self_critical, which rewards captions of its own by their CIDEr-D
    samples: int = 5  # captions drawn of a picture; this and the next for self_critical only
    temperature: float = 1.0  # of the draw; below 1 after label smoothing
    epochs: float = 10.0
    batch_size: int = 64  # pictures; each brings its five captions
    learning_rate: float = 1e-3  # of the decoder
    encoder_learning_rate: float = 0.0  # 0 freezes the encoder and trains from cached grids
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    label_smoothing: float = 0.1
    max_grad_norm: float = 1.0
    bf16: bool = True  # matrix products in bfloat16
    average_last: int = 0  # so many last epochs' weights are averaged, and kept where that scores best; 0 never does
    start_share: float = 0.0  # 0-1, of the weights it began with in the mean that is tried at last, and kept likewise
    seed: int = 0
    resume: bool = False  # go on from the last checkpoint in output
    workers: int = 1  # processes that decode and augment pictures

    # data
    feature_views: int = 2  # cached views of a picture, the first one unchanged
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    train_pictures: int = 0  # only the first so many; 0 takes all
    validation_pictures: int = 0

    # decoding
    num_beams: int = 5
    max_length: int = 24  # tokens, start and end among them
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 3


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Read a YAML file over the defaults, then `key=value` overrides ("augmentation.flip=0").

    Raises:
        InputError: no such file, or a key or value that Recipe does not know.
    """
    if not Path(path).is_file():
        raise InputError(f"There is no recipe at {path!r}: give one of the files in configs/.")
    try:
        merged = OmegaConf.merge(
            OmegaConf.structured(Recipe), OmegaConf.load(path), OmegaConf.from_dotlist(list(overrides))
        )
        return cast("Recipe", OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        where = f" at {error.full_key}" if error.full_key else ""
        raise InputError(f"The recipe cannot be read{where}: {str(error).splitlines()[0]}") from error


def load_encoder_weights(model: ImgcapForImageCaptioning, weights: str) -> None:
    """Fill the encoder from torchvision's weights by name, a file in their layout, another captioner, or not at all.

    Raises:
        InputError: no such name, file or captioner, or its tensors do not fit the encoder.
    """
    if weights == "none":
        return
    name = model.config.encoder
    if Path(weights).is_dir():
        state = load_captioner(weights)[0].encoder.trunk.state_dict()
    elif Path(weights).is_file():
        state = load_file(weights) if weights.endswith(".safetensors") else torch.load(weights, weights_only=True)
    else:
        choices = torchvision.models.get_model_weights(name)
        if weights not in choices.__members__:
            known = ", ".join(choices.__members__)
            raise InputError(f"encoder_weights must be a file, none, or one of {known} for {name}, not {weights!r}.")
        state = choices[weights].get_state_dict(progress=True)
    # The classifier's tensors are of no use here; features are named as in torchvision, with or without its prefix.
    state = {key.removeprefix("features."): tensor.float() for key, tensor in state.items()}
    own = model.encoder.trunk.state_dict()
    wrong = [key for key, tensor in own.items() if key not in state or state[key].shape != tensor.shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise InputError(
            f"The encoder weights {weights!r} are not those of a {name}: {wrong[0]} is missing or differs."
        )
    model.encoder.trunk.load_state_dict({key: state.get(key, own[key]) for key in own})


def build(recipe: Recipe, train: datasets.Dataset) -> tuple[ImgcapForImageCaptioning, ImgcapProcessor]:
    """A new captioner with a vocabulary of the training captions, or the one at `init_from`."""
    if recipe.init_from:
        model, processor = load_captioner(recipe.init_from)
        model.config.confidence_slope = model.config.confidence_intercept = None  # of other weights
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = recipe.dropout
        model.config.dropout = recipe.dropout
    else:
        captions = (text for row in data.references(train) for text in row)
        tokenizer = data.build_tokenizer(captions, recipe.min_count)
        try:
            config = ImgcapConfig(
                encoder=recipe.encoder, decoder=recipe.decoder, vocab_size=len(tokenizer),
                hidden_size=recipe.hidden_size, num_attention_heads=recipe.num_attention_heads,
                dropout=recipe.dropout, tie_word_embeddings=recipe.tie_word_embeddings,
            )  # fmt: skip
            model = ImgcapForImageCaptioning(config)
        except ValueError as error:
            raise InputError(f"The recipe describes no model: {error}") from error
        load_encoder_weights(model, recipe.encoder_weights)
        processor = ImgcapProcessor(ImgcapImageProcessor(), tokenizer)
    model.generation_config = generation_config(recipe, model.config)
    return model, processor


def generation_config(recipe: Recipe, config: ImgcapConfig) -> GenerationConfig:
    """The default way this captioner writes: beam search that never says <unk> nor the same three words twice."""
    return GenerationConfig(
        num_beams=recipe.num_beams,
        max_length=recipe.max_length,
        length_penalty=recipe.length_penalty,
        no_repeat_ngram_size=recipe.no_repeat_ngram_size,
        suppress_tokens=[config.pad_token_id, config.bos_token_id, config.unk_token_id],
        pad_token_id=config.pad_token_id,
        bos_token_id=config.bos_token_id,
        eos_token_id=config.eos_token_id,
        decoder_start_token_id=config.decoder_start_token_id,
    )


class CaptionRows(torch.utils.data.Dataset[dict[str, Any]]):
    """Pictures or cached grids, each with its captions; of several views one is drawn at each look."""

    def __init__(self, dataset: datasets.Dataset, views: list[NDArray[np.float16]] | None = None) -> None:
        self.images = dataset["image"]
        self.captions = data.references(dataset)
        self.views = views

    def __len__(self) -> int:
        return len(self.captions)

    def __getitem__(self, row: int) -> dict[str, Any]:
        if self.views is None:
            return {"image": self.images[row], "captions": self.captions[row]}
        view = self.views[int(torch.randint(len(self.views), ()))]
        return {"features": view[row], "captions": self.captions[row]}


class CaptionTrainer(Trainer):
    """transformers' Trainer with two learning rates, and an evaluation that writes captions and scores them."""

    control: TrainerControl

    def __init__(
        self,
        *args: Any,
        encoder_learning_rate: float,
        validation: datasets.Dataset,
        validation_grids: NDArray[np.float16] | None,
        processor: ImgcapProcessor,
        self_critical: SelfCriticalLoss | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.self_critical = self_critical
        self.encoder_learning_rate = encoder_learning_rate
        self.validation = validation
        self.validation_grids = validation_grids
        self.processor = processor

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ARG002 - the Trainer's signature
        """AdamW; the encoder has its own rate, and no weight decay that would pull it from ImageNet to zero."""
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
        """Cross-entropy, smoothed by the Trainer; or the self-critical loss where there is one."""
        if self.self_critical is None:
            return super().compute_loss(model, inputs, *args, **kwargs)
        return self.self_critical(model, **inputs)

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Beside a self-critical loss, the last batch's mean reward and the share of its captions that ended."""
        if self.self_critical is not None and "loss" in logs:
            logs |= {"reward": self.self_critical.reward, "ended": self.self_critical.ended}
        super().log(logs, *args, **kwargs)

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """BLEU, ROUGE-L and CIDEr of the default beam on the validation split, as `imgcap evaluate` computes them.

        Also the share of captions that break off ("a man in a"), which a wrong reward would make common.
        """
        with torch.autocast(self.args.device.type, dtype=torch.bfloat16, enabled=self.args.bf16):
            captions = write_captions(self.model, self.processor, self._validation_batches())
        scores = score(captions, data.references(self.validation), bootstrap=0, with_meteor=False)
        metrics = {f"eval_{name}": value for name, value in scores.items() if isinstance(value, float)}
        metrics["eval_broken_off"] = float(np.mean([breaks_off(caption) for caption in captions]))
        self.log(metrics)

        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def adopt(self, name: str, weights: Mapping[str, torch.Tensor]) -> None:
        """Put `weights` in the model's place, unless the best checkpoint scores higher; log which, under `name`."""
        best = copy.deepcopy(self.model.state_dict())
        self.model.load_state_dict(weights)
        cider = self.evaluate()["eval_CIDEr"]
        kept = cider >= cast("float", self.state.best_metric)
        if not kept:
            self.model.load_state_dict(best)
        self.log({f"{name}_CIDEr": cider, f"{name}_kept": kept})

    def _validation_batches(self) -> Iterator[dict[str, Any]]:
        if self.validation_grids is None:
            for batch in picture_batches(self.validation, self.processor):
                yield {name: tensor.to(self.args.device) for name, tensor in batch.items()}
            return
        for start in range(0, len(self.validation_grids), 64):
            grid = torch.from_numpy(self.validation_grids[start : start + 64].astype(np.float32)).to(self.args.device)
            yield {"encoder_outputs": BaseModelOutput(last_hidden_state=grid)}


def train(recipe: Recipe) -> dict[str, Any]:
    """Run one stage; the best checkpoint by validation CIDEr, its card and its log end in `recipe.output`.

    With `average_last` the mean of the last epochs' weights takes part, with `start_share` that of the best ones and
    those the stage began with; either wins where it scores at least the best.

    Returns:
        What `imgcap.evaluation.run.summarize` says of that checkpoint on the validation split.

    Raises:
        InputError: data, weights or recipe cannot be used.
    """
    if not 0 <= recipe.start_share <= 1:
        raise InputError(f"start_share is a share, from 0 to 1, not {recipe.start_share}.")
    torch.manual_seed(recipe.seed)
    output = Path(recipe.output)
    train_split = _first(data.load_split(recipe.data, "train"), recipe.train_pictures, f"{recipe.data} train")
    validation = _first(
        data.load_split(recipe.data, "validation"), recipe.validation_pictures, f"{recipe.data} validation"
    )
    model, processor = build(recipe, train_split)
    start = copy.deepcopy(model.state_dict()) if recipe.start_share else {}
    trainer = _trainer(recipe, model, processor, train_split, validation)
    output.mkdir(parents=True, exist_ok=True)
    # Whether it was interrupted is no part of the recipe.
    OmegaConf.save(OmegaConf.structured(replace(recipe, resume=False)), output / "recipe.yaml")
    trainer.train(resume_from_checkpoint=_last_checkpoint(output) if recipe.resume else None)
    if recipe.average_last:
        trainer.adopt("average", average(last_checkpoints(output, recipe.average_last)))
    if recipe.start_share:
        trainer.adopt("start_share", interpolate(model.state_dict(), start, recipe.start_share))
    save_captioner(output, model.cpu(), processor)
    (output / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in trainer.state.log_history))
    return _examine(recipe, output, model.config)


def _examine(recipe: Recipe, output: Path, config: ImgcapConfig) -> dict[str, Any]:
    """Score the finished files by the command's own code, so that whoever evaluates them finds the card's numbers."""
    rows, captions = caption_split(recipe.output, recipe.data, "validation", recipe.validation_pictures or None)
    scores = summarize(recipe.output, "validation", rows, captions)
    mistakes = count_mistakes(captions, data.references(rows))
    provenance = read_provenance(recipe.init_from, recipe.encoder_weights)
    (output / "captions.json").write_text(json.dumps(captions, indent=0) + "\n")
    (output / "scores.json").write_text(json.dumps(scores, indent=2) + "\n")
    (output / "mistakes.json").write_text(json.dumps(mistakes, indent=2) + "\n")
    (output / "provenance.md").write_text(provenance)
    write_card(
        output, recipe=(output / "recipe.yaml").read_text(), scores=scores, config=config,
        beams=recipe.num_beams, provenance=provenance, mistakes=mistakes,
    )  # fmt: skip
    if len(rows) >= MIN_IMAGES:
        write_confidence(output, calibrate_captioner(output, rows, captions))
    return scores


def _first(dataset: datasets.Dataset, pictures: int, name: str) -> datasets.Dataset:
    if pictures:
        dataset = dataset.select(range(min(pictures, len(dataset))))
    return data.drop_unusable(dataset, name)


def _last_checkpoint(output: Path) -> str:
    folder = output / "checkpoints"
    checkpoint = get_last_checkpoint(str(folder)) if folder.is_dir() else None
    if checkpoint is None:
        raise InputError(f"There is no checkpoint in {str(folder)!r} to resume from: leave resume out to start anew.")
    return str(checkpoint)


def _trainer(
    recipe: Recipe,
    model: ImgcapForImageCaptioning,
    processor: ImgcapProcessor,
    train_split: datasets.Dataset,
    validation: datasets.Dataset,
) -> CaptionTrainer:
    frozen = recipe.encoder_learning_rate == 0
    model.encoder.requires_grad_(not frozen)
    self_critical = _self_critical(recipe, processor, train_split)
    collators = PictureCollator if self_critical else CaptionCollator
    collator = collators(processor.tokenizer, processor.image_processor)
    views = grids = None
    if frozen:
        cache = Path(recipe.cache)
        views = cached_views(cache, model, train_split, collator, recipe.augmentation, recipe.feature_views)
        grids = cached_views(cache, model, validation, collator, recipe.augmentation, 1)[0]
        collator = collators(processor.tokenizer, None)
    else:
        collator.augment = data.augmentation(recipe.augmentation, model.config.image_size)
    arguments = TrainingArguments(
        output_dir=str(Path(recipe.output) / "checkpoints"),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup_steps,
        lr_scheduler_type="cosine",
        label_smoothing_factor=recipe.label_smoothing,
        max_grad_norm=recipe.max_grad_norm,
        bf16=recipe.bf16,
        use_cpu=not torch.cuda.is_available(),
        seed=recipe.seed,
        dataloader_num_workers=0 if frozen else recipe.workers,
        remove_unused_columns=False,
        logging_steps=20,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=max(2, recipe.average_last + 1),  # the best one may be older than those averaged
        load_best_model_at_end=True,
        metric_for_best_model="CIDEr",
        greater_is_better=True,
        report_to="none",
    )
    return CaptionTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=CaptionRows(train_split, views),
        eval_dataset=CaptionRows(validation),
        encoder_learning_rate=recipe.encoder_learning_rate,
        validation=validation,
        validation_grids=grids,
        processor=processor,
        self_critical=self_critical,
    )


def _self_critical(
    recipe: Recipe, processor: ImgcapProcessor, train_split: datasets.Dataset
) -> SelfCriticalLoss | None:
    if recipe.objective == "cross_entropy":
        return None
    if recipe.objective != "self_critical":
        raise InputError(f"objective must be cross_entropy or self_critical, not {recipe.objective!r}.")
    if recipe.samples < 2 or recipe.temperature <= 0:
        raise InputError("Self-critical training needs samples of at least 2, to compare, and a temperature above 0.")
    return SelfCriticalLoss(
        data.references(train_split), processor.tokenizer, recipe.samples, recipe.max_length - 1, recipe.temperature
    )
