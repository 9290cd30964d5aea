"""Read, check and save recipes, the settings of one stage of training. This module does not import torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from imgcap.data import FLICKR8K
from imgcap.data.augmentation import AugmentationConfig
from imgcap.errors import InputError

OBJECTIVES = ("cross_entropy", "self_critical")
_SHAPE = ("encoder", "decoder", "hidden_size", "num_attention_heads", "tie_word_embeddings")
_PLACES = ("output", "data", "data_id", "cache", "encoder_weights", "workers")  # may differ when a run is resumed


@dataclass
class Recipe:
    """The settings of one stage. A YAML file overrides these defaults, and `key=value` arguments override both.

    Raises InputError if a value is not valid.
    """

    output: str = "runs/captioner"  # folder for checkpoints, the log and the finished captioner
    push_to: str = ""  # id on the Hub to which the finished captioner is pushed; empty pushes nowhere
    data: str = FLICKR8K  # folder or Hub id of images with captions
    data_id: str = ""  # Hub id that the card names if data is a folder
    image_column: str = ""  # column of images; empty finds it
    caption_columns: list[str] = field(default_factory=list)  # columns of captions or lists of them; empty finds them
    cache: str = "cache/features"  # folder for the grids of a frozen encoder

    # model; all but dropout are ignored if init_from is given
    init_from: str = ""  # folder or Hub id of a captioner whose training is continued
    encoder_from: str = ""  # folder or Hub id of a captioner whose encoder replaces the one of init_from
    new_decoder: bool = False  # train a new decoder on the encoder, words and softmax layer of init_from
    mix: list[str] = field(default_factory=list)  # captioners whose weights are averaged with those of init_from
    join: list[str] = field(default_factory=list)  # captioners whose decoders are added to those of init_from
    encoder: str = "resnet50"  # a torchvision CNN
    encoder_weights: str = "IMAGENET1K_V1"  # torchvision's name, a file, a captioner's folder, or "none"
    decoder: str = "attention"  # or merge
    hidden_size: int = 512  # width of word embeddings, LSTMs and projected grid
    num_attention_heads: int = 8  # of the attention decoder
    dropout: float = 0.5
    tie_word_embeddings: bool = True
    min_count: int = 5  # a word that occurs less often in the training captions becomes <unk>

    # optimisation
    objective: str = "cross_entropy"  # or self_critical, which rewards captions sampled from the model by CIDEr-D
    samples: int = 5  # captions sampled per image; only for self_critical
    temperature: float = 1.0  # of sampling, below 1 after label smoothing; only for self_critical
    bleu_weight: float = 0.0  # factor of BLEU-4, which is added to CIDEr-D in the reward; only for self_critical
    epochs: float = 10.0
    batch_size: int = 64  # images in all processes together; each comes with five captions
    learning_rate: float = 1e-3  # of the decoder
    encoder_learning_rate: float = 0.0  # 0 freezes the encoder and trains from cached grids
    encoder_stages: int = 0  # number of the encoder's last stages trained, from the others' cached output; 0 for all
    train_shared: bool = True  # False freezes what joined decoders share: words, softmax layer, projection of the grid
    weight_decay: float = 1e-4
    warmup_steps: int = 100
    label_smoothing: float = 0.1  # only for cross_entropy
    max_grad_norm: float = 1.0
    bf16: bool = True  # matrix products in bfloat16, if the device multiplies it in hardware
    average_last: int = 0  # number of last epochs whose mean weights are tried at the end; 0 tries none
    start_share: float = 0.0  # 0-1, share of the initial weights in a mean that is tried at the end; 0 tries none
    seed: int = 0
    resume: bool = False  # continue from the last checkpoint in output
    workers: int | None = None  # that decode and augment images, if the encoder is trained; None: the cores but one

    # data
    feature_views: int = 2  # cached views per image, of which the first is unchanged; only for a frozen encoder
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    train_pictures: int = 0  # maximum number of training images; 0 for all
    validation_pictures: int = 0

    # decoding
    num_beams: int = 5
    max_length: int = 24  # tokens, including start and end
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 3

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective must be {' or '.join(OBJECTIVES)}, not {self.objective!r}.")
        if self.objective == "self_critical" and (self.samples < 2 or self.temperature <= 0):
            raise InputError("Self-critical training needs at least 2 samples to compare, and a temperature above 0.")
        if not 0 <= self.start_share <= 1:
            raise InputError(f"start_share must be from 0 to 1, not {self.start_share}.")
        if not 0 <= self.label_smoothing < 1:
            raise InputError(f"label_smoothing must be at least 0 and below 1, not {self.label_smoothing}.")
        if (self.encoder_from or self.new_decoder or self.mix or self.join) and not self.init_from:
            raise InputError("encoder_from, new_decoder, mix and join change another captioner: give it as init_from.")
        if not self.epochs and not (self.mix or self.join):
            raise InputError("epochs must be above 0, unless captioners are mixed or joined.")
        for name in ("batch_size", "feature_views", "num_beams", "min_count"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}.")
        for name in (
            "epochs", "learning_rate", "encoder_learning_rate", "encoder_stages", "weight_decay", "average_last",
            "train_pictures", "validation_pictures", "workers", "warmup_steps", "bleu_weight",
        ):  # fmt: skip
            if (getattr(self, name) or 0) < 0:
                raise InputError(f"{name} must not be negative, but is {getattr(self, name)}.")
        if self.max_length < 3:
            raise InputError(f"max_length must leave room for a word between start and end, not {self.max_length}.")

    @property
    def self_critical(self) -> bool:
        """Whether the model is trained on CIDEr-D."""
        return self.objective == "self_critical"

    @property
    def frozen(self) -> bool:
        """Whether the encoder keeps its weights, so that its grids are cached."""
        return self.encoder_learning_rate == 0

    @property
    def stages(self) -> int:
        """Number of the encoder's last stages that are trained from a cache; 0 if it is frozen or trained whole."""
        return 0 if self.frozen else self.encoder_stages

    @property
    def cached(self) -> bool:
        """Whether training reads cached features instead of images."""
        return self.frozen or self.encoder_stages > 0


def load_recipe(path: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe of a YAML file over the defaults, then `key=value` overrides ("augmentation.flip=0").

    Raises:
        InputError: the file does not exist, or has a key or value that Recipe does not accept.
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


def in_effect(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe's fields that have an effect, in order.

    A stage that starts from another captioner takes its shape and vocabulary from that captioner; each objective has
    its own settings, and so has a frozen encoder. Whether a run was interrupted and resumed is not part of its recipe.
    """
    unused = {"resume", "push_to"}
    if recipe.init_from:
        unused |= {*_SHAPE, "encoder_weights", "min_count"}
    elif recipe.decoder != "attention":
        unused.add("num_attention_heads")
    unused |= {"label_smoothing"} if recipe.self_critical else {"samples", "temperature", "bleu_weight"}
    unused |= {"workers"} if recipe.cached else {"cache", "feature_views"}
    unused |= {"encoder_stages"} if not recipe.stages else set()
    if recipe.cached and recipe.feature_views == 1:
        unused.add("augmentation")
    optional = (
        "bleu_weight", "data_id", "init_from", "encoder_from", "new_decoder", "mix", "join", "image_column",
        "caption_columns",
    )  # fmt: skip
    unused |= {name for name in optional if not getattr(recipe, name)}
    fields = cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.structured(recipe)))
    return {name: value for name, value in fields.items() if name not in unused}


def save_recipe(path: Path, recipe: Recipe, model: Mapping[str, Any]) -> None:
    """Write the fields that have an effect as YAML; `load_recipe` reads it back.

    Args:
        path: the file.
        recipe: recipe of the run.
        model: fields of the model's configuration, for the shape that a stage takes from another captioner.
    """
    shape = {name: model[name] for name in _SHAPE if name != "num_attention_heads" or model["decoder"] == "attention"}
    known = in_effect(recipe) | shape
    order = list(Recipe.__dataclass_fields__)
    OmegaConf.save(OmegaConf.create({name: known[name] for name in sorted(known, key=order.index)}), path)


def check_output(recipe: Recipe) -> None:
    """Refuse an output folder that holds another run, before anything is loaded.

    Raises:
        InputError: the folder holds a run that the recipe does not resume, it holds no checkpoint to resume, or the run
            was made with other settings.
    """
    output = Path(recipe.output)
    checkpoints = list((output / "checkpoints").glob("checkpoint-*"))
    if not recipe.resume:
        if checkpoints or (output / "model.safetensors").exists():
            raise InputError(
                f"The folder {recipe.output!r} already holds a run: give another output, remove the folder, or go on "
                "with the run by resume=true."
            )
        return
    if not checkpoints:
        raise InputError(
            f"There is no checkpoint in {str(output / 'checkpoints')!r} to resume from: leave resume out to start "
            "from the beginning."
        )
    saved = output / "recipe.yaml"
    if not saved.is_file():
        raise InputError(f"The run in {recipe.output!r} cannot be resumed: its recipe.yaml is missing.")
    before, now = in_effect(load_recipe(str(saved))), in_effect(recipe)
    for name in vars(recipe):
        if name not in _PLACES and before.get(name) != now.get(name):
            raise InputError(
                f"The run in {recipe.output!r} cannot be resumed with another recipe: {name} was {before.get(name)!r} "
                f"and is now {now.get(name)!r}. Give the same settings, or another output."
            )
