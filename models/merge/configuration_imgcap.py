"""Configuration of the captioner, as transformers knows it."""

from typing import Any

import transformers

if int(transformers.__version__.split(".")[0]) < 5:  # before the next import, which fails there without a reason
    raise ImportError(
        f"This captioner needs transformers 5 or newer, not {transformers.__version__}: pip install -U transformers"
    )

from transformers import PreTrainedConfig

DECODERS = ("attention", "merge")


class ImgcapConfig(PreTrainedConfig):
    """Shape of one captioner.

    encoder: name of a torchvision classification CNN, without its classifier ("resnet50", "vgg16", ...).
    decoder: "attention" (the LSTM attends to the grid at each word) or "merge" (the image joins after the LSTM).
    decoders: number of decoders of that kind; their probabilities of the next word are averaged.
    vocab_size: words in the tokenizer, including its four special tokens.
    hidden_size: width of the word embedding, the LSTMs and the projected grid.
    num_attention_heads: heads of the soft attention; divides hidden_size. The merge decoder ignores it.
    dropout: probability, on embedded words, the projected grid and the last hidden layer.
    image_size: side of the square input in pixels; a multiple of 32.
    tie_word_embeddings: the softmax shares its matrix with the word embedding (Press and Wolf, 2017).
    confidence_slope, confidence_intercept: a caption whose tokens, including the end token, have the mean
        log-probability x is as good as people's with probability 1 / (1 + exp(-(slope * x + intercept))). Only
        captioners that were calibrated before confidence.json came have them.

    Raises ValueError if the fields contradict each other.
    """

    model_type = "imgcap"

    encoder: str = "resnet50"
    decoder: str = "attention"
    decoders: int = 1
    vocab_size: int = 3000
    hidden_size: int = 512
    num_attention_heads: int = 8
    dropout: float = 0.5
    image_size: int = 224
    tie_word_embeddings: bool = True
    is_encoder_decoder: bool = True
    pad_token_id: int = 0
    bos_token_id: int = 1
    eos_token_id: int = 2
    unk_token_id: int = 3
    decoder_start_token_id: int = 1
    confidence_slope: float | None = None
    confidence_intercept: float | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self.decoder not in DECODERS:
            raise ValueError(f"decoder must be one of {', '.join(DECODERS)}, not {self.decoder!r}.")
        if self.decoder == "attention" and self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size ({self.hidden_size}) must be a multiple of num_attention_heads "
                f"({self.num_attention_heads})."
            )
        if self.decoders < 1:
            raise ValueError(f"decoders must be at least 1, not {self.decoders}.")
        if self.image_size <= 0 or self.image_size % 32:
            raise ValueError(f"image_size must be a positive multiple of 32, not {self.image_size}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, not {self.dropout}.")
        if (self.confidence_slope is None) != (self.confidence_intercept is None):
            raise ValueError("confidence_slope and confidence_intercept are given together or not at all.")
        super().__post_init__(**kwargs)

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> "ImgcapConfig":  # noqa: ARG002
        """Return this configuration itself, since transformers would take the field `decoder` for a nested one."""
        return self
