"""Build the captioner that a stage starts from."""

from imgcap.model import torchvision_ops  # noqa: F401, I001 - must come before torchvision and transformers

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from transformers import GenerationConfig

from imgcap.data.vocabulary import build_tokenizer
from imgcap.errors import InputError
from imgcap.inference.checkpoint import load_captioner
from imgcap.inference.files import find_folder
from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapImageProcessor, ImgcapProcessor
from imgcap.training.averaging import average, join_decoders
from imgcap.training.recipe import Recipe


def check_model(recipe: Recipe) -> None:
    """Refuse a recipe that describes no valid model, before its data are loaded.

    Raises:
        InputError: the encoder or decoder does not exist, or their sizes do not fit.
    """
    if not recipe.init_from:
        if recipe.encoder not in torchvision.models.list_models(module=torchvision.models):
            raise InputError(f"encoder must be the name of a torchvision classifier, not {recipe.encoder!r}.")
        _config(recipe, vocab_size=4)


def build(recipe: Recipe, captions: Sequence[Sequence[str]]) -> tuple[ImgcapForImageCaptioning, ImgcapProcessor]:
    """Return the captioner at `init_from`, or a new one with a vocabulary of the training captions.

    Args:
        recipe: recipe of the stage.
        captions: raw captions of each training image.

    Raises:
        InputError: a captioner or the encoder's weights cannot be loaded, captioners do not fit together, or the
            recipe resumes a run with another vocabulary.
    """
    if recipe.init_from:
        model, processor = load_captioner(recipe.init_from)
        _check_vocabulary(recipe, processor)
        if recipe.encoder_from:
            load_encoder_weights(model, recipe.encoder_from)
        if recipe.new_decoder:
            renew_decoder(model)
        if recipe.mix:
            model.load_state_dict(average([find_folder(source) for source in (recipe.init_from, *recipe.mix)]))
        if recipe.join:
            model = join_decoders([model, *(load_captioner(source)[0] for source in recipe.join)])
        model.config.confidence_slope = model.config.confidence_intercept = None  # they belong to other weights
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = recipe.dropout
        model.config.dropout = recipe.dropout
    else:
        tokenizer = build_tokenizer((text for row in captions for text in row), recipe.min_count)
        processor = ImgcapProcessor(ImgcapImageProcessor(), tokenizer)
        _check_vocabulary(recipe, processor)
        model = ImgcapForImageCaptioning(_config(recipe, len(tokenizer)))
        load_encoder_weights(model, recipe.encoder_weights)
    model.generation_config = generation_config(recipe, model.config)
    return model, processor


def renew_decoder(model: ImgcapForImageCaptioning) -> None:
    """Give the model's decoder new random weights, except the parts that joined decoders share (`join_decoders`)."""
    fresh = type(model.decoder)(model.config, model.encoder.channels)
    for module in fresh.modules():
        model._init_weights(module)
    fresh.project.load_state_dict(model.decoder.project.state_dict())
    model.decoder = fresh


def _config(recipe: Recipe, vocab_size: int) -> ImgcapConfig:
    try:
        return ImgcapConfig(
            encoder=recipe.encoder, decoder=recipe.decoder, vocab_size=vocab_size,
            hidden_size=recipe.hidden_size, num_attention_heads=recipe.num_attention_heads,
            dropout=recipe.dropout, tie_word_embeddings=recipe.tie_word_embeddings,
        )  # fmt: skip
    except ValueError as error:
        raise InputError(f"The recipe describes no model: {error}") from error


def _check_vocabulary(recipe: Recipe, processor: ImgcapProcessor) -> None:
    saved = Path(recipe.output) / "tokenizer.json"
    if recipe.resume and saved.is_file():
        before = json.loads(saved.read_text(encoding="utf-8"))["model"]["vocab"]
        now = processor.tokenizer.get_vocab()
        if before != now:
            raise InputError(
                f"The run in {recipe.output!r} cannot be resumed: it was made with another vocabulary, of "
                f"{len(before)} words instead of {len(now)}. Give the same data, or another output."
            )


def generation_config(recipe: Recipe, config: ImgcapConfig) -> GenerationConfig:
    """Return the default decoding: beam search without <unk> and, by default, without repeated trigrams."""
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


def load_encoder_weights(model: ImgcapForImageCaptioning, weights: str) -> None:
    """Load the encoder's weights.

    Args:
        model: the model whose encoder gets the weights.
        weights: the name of torchvision's weights, a file in their layout, the folder of another captioner, or "none",
            which leaves the encoder as it is.

    Raises:
        InputError: the name, file or captioner does not exist, or its tensors do not fit the encoder.
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
    # The classifier's tensors are not needed; the others have torchvision's names, with or without the prefix.
    state = {key.removeprefix("features."): tensor.float() for key, tensor in state.items()}
    own = model.encoder.trunk.state_dict()
    wrong = [key for key, tensor in own.items() if key not in state or state[key].shape != tensor.shape]
    wrong = [key for key in wrong if not key.endswith("num_batches_tracked")]
    if wrong:
        raise InputError(
            f"The encoder weights {weights!r} are not those of a {name}: {wrong[0]} is missing or differs."
        )
    model.encoder.trunk.load_state_dict({key: state.get(key, own[key]) for key in own})
