"""A CNN encoder and an LSTM decoder that writes a caption word by word.

The encoder is a torchvision CNN without its classifier (He et al., 2016, arXiv:1512.03385, for the default ResNet50).
Two decoders can follow it:

- `attention`: soft attention over the encoder's grid (Xu et al., 2015, arXiv:1502.03044) in the two-LSTM form of
  Anderson et al. (2018, arXiv:1707.07998), with scaled dot-product heads (Vaswani et al., 2017, arXiv:1706.03762) in
  place of the additive score, because on a CPU they cost far less;
- `merge`: the LSTM reads words only, and a dense layer before the softmax joins its state and the image (Tanti et al.,
  2017, arXiv:1708.02043).

With `config.decoders` above 1, the model has that many decoders of one kind, and averages their probabilities of the
next word. They share the encoder, the projection of its grid, the word embedding and the softmax layer, which a
checkpoint stores once.

Shapes below: B images, N = n * B captions (the n captions of an image are adjacent and share one encoder pass),
T words, P grid cells, C encoder channels, D = config.hidden_size, V = config.vocab_size.
"""

import math
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu, scaled_dot_product_attention
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from .configuration_imgcap import ImgcapConfig


def shift_right(labels: Tensor, start: int, pad: int) -> Tensor:
    """Return decoder_input_ids (N, T) for labels (N, T): the start token in front, padding where a label is -100."""
    first = labels.new_full((len(labels), 1), start)
    return torch.cat((first, labels[:, :-1].masked_fill(labels[:, :-1] == -100, pad)), 1)


class DecoderState:
    """One decoder's state between words.

    hidden: list of (N, D) tensors, the LSTMs' h and c; fewer rows once `keep` has been called.
    memory: tuple of tensors computed once from the images, B or N rows.
    rows: (R,) int64, which of the N captions the rows of `hidden` belong to; None until `keep` drops one.
    """

    def __init__(self, hidden: list[Tensor], memory: tuple[Tensor, ...]) -> None:
        self.hidden = hidden
        self.memory = memory
        self.rows: Tensor | None = None

    def reorder(self, beam_idx: Tensor) -> None:
        """Reorder the state after the beams that survived; beam_idx is (N,) int64."""
        # The beams of an image share its memory, so only the parts that depend on the words are reordered.
        self.hidden = [h.index_select(0, beam_idx) for h in self.hidden]

    def keep(self, going: Tensor) -> None:
        """Drop the captions that have ended; going is (K,) int64, the rows of `hidden` that are kept."""
        self.reorder(going)
        self.rows = going if self.rows is None else self.rows[going]

    def of_rows(self, memory: Tensor) -> Tensor:
        """Return the rows (R, ...) of `memory` (N, ...) for the captions that are kept."""
        return memory if self.rows is None else memory[self.rows]

    def spread(self, values: Tensor, captions: int) -> Tensor:
        """Return (N, D) with the rows of `values` (R, D) at the positions of their captions, and zeros elsewhere."""
        if self.rows is None:
            return values
        return values.new_zeros(captions, values.size(-1)).index_copy(0, self.rows, values)


class DecoderStates:
    """The states of all the model's decoders; transformers passes it around as `past_key_values`.

    each: one state for each decoder.
    length: words read so far.
    """

    is_compileable = False

    def __init__(self, each: list[DecoderState]) -> None:
        self.each = each
        self.length = 0

    def get_seq_length(self, *_: Any) -> int:
        """Return the number of words read so far."""
        return self.length

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Reorder the states after the beams that survived; beam_idx is (N,) int64."""
        for state in self.each:
            state.reorder(beam_idx)

    def keep(self, going: Tensor) -> None:
        """Drop the captions that have ended; going is (K,) int64, the rows kept of those read last."""
        for state in self.each:
            state.keep(going)


class Encoder(nn.Module):
    """A torchvision CNN up to its last feature map."""

    main_input_name = "pixel_values"

    def __init__(self, name: str) -> None:
        super().__init__()
        network = torchvision.models.get_model(name, weights=None)
        if hasattr(network, "features"):  # VGG, DenseNet, MobileNet, EfficientNet
            self.trunk = network.features
        else:  # ResNet and similar: every module before the pooling keeps torchvision's name
            parts = dict(network.named_children())
            names = list(parts)
            self.trunk = nn.Sequential()
            for part in names[: names.index("avgpool")]:
                self.trunk.add_module(part, parts[part])
        last = [m for m in self.trunk.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)][-1]
        self.channels: int = last.out_channels if isinstance(last, nn.Conv2d) else last.num_features

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """Return last_hidden_state (B, P, C), in the dtype of `pixel_values` (B, 3, S, S), which are normalised."""
        return self.finish(pixel_values)

    def stages(self, last: int) -> tuple[nn.Sequential, nn.Sequential]:
        """Split the trunk before its `last` last stages; a stage is a module with weights, such as `layer4`.

        Raises ValueError if the trunk has fewer stages.
        """
        weighty = [i for i, part in enumerate(self.trunk) if next(part.parameters(), None) is not None]
        if not 0 <= last <= len(weighty):
            raise ValueError(f"the encoder has {len(weighty)} stages, so the last {last} cannot be split off.")
        cut = weighty[-last] if last else len(self.trunk)
        return self.trunk[:cut], self.trunk[cut:]

    def begin(self, pixel_values: Tensor, last: int) -> Tensor:
        """Return the feature map (B, c, h, w) that the `last` last stages read; `finish` takes it."""
        return self._run(self.stages(last)[0], pixel_values)

    def finish(self, features: Tensor, last: int | None = None) -> BaseModelOutput:
        """Return the grid that the `last` last stages compute from `begin`'s result, or all of them from pixels."""
        grid = self._run(self.trunk if last is None else self.stages(last)[1], features)
        return BaseModelOutput(last_hidden_state=grid.flatten(2).transpose(1, 2))

    def _run(self, part: nn.Sequential, features: Tensor) -> Tensor:
        # The trunk may run in bfloat16 while the decoder stays in float32.
        dtype = next(self.trunk.parameters()).dtype
        # Convolutions on CPUs are faster in this memory format.
        result: Tensor = part(features.to(dtype, memory_format=torch.channels_last))
        return result.to(features.dtype)

    def train(self, mode: bool = True) -> "Encoder":
        """Set the mode; batch normalisation keeps its ImageNet statistics, as batches are too small for new ones."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class AttentionDecoder(nn.Module):
    """Attention LSTM, gated multi-head attention over the grid, language LSTM."""

    def __init__(self, config: ImgcapConfig, channels: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.project = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.positions = nn.Embedding((config.image_size // 32) ** 2, width)
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.query = nn.Linear(width, width)
        self.gate = nn.Linear(width, width)
        self.attention_lstm = nn.LSTMCell(3 * width, width)
        self.language_lstm = nn.LSTMCell(2 * width, width)
        self.from_hidden = nn.Linear(width, width)
        self.from_context = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, grid: Tensor, captions: int) -> DecoderState:
        """Return the state before the first word of `captions` captions per image; grid is (B, P, C)."""
        cells = self.dropout(self.norm(self.project(grid)))
        split = (self.heads, cells.size(-1) // self.heads)
        keys = self.keys(cells + self.positions.weight).unflatten(-1, split).transpose(1, 2)
        values = self.values(cells).unflatten(-1, split).transpose(1, 2)
        mean = cells.mean(1).repeat_interleave(captions, 0)
        zeros = torch.zeros_like(mean)
        return DecoderState([zeros, zeros, zeros, zeros], (keys, values, mean))

    def step(self, word: Tensor, state: DecoderState) -> Tensor:
        """Return features for the softmax (N, D) for embedded words (N, D), and advance `state` by one word."""
        keys, values, mean = state.memory
        h1, c1, h2, c2 = state.hidden
        h1, c1 = self.attention_lstm(torch.cat((word, state.of_rows(mean), h2), -1), (h1, c1))
        # (N, D) -> (B, heads, n, D / heads): the n captions of an image are n queries to the same keys.
        query = state.spread(self.query(h1), len(mean))
        query = query.view(len(keys), -1, self.heads, keys.size(-1)).transpose(1, 2)
        context = scaled_dot_product_attention(query, keys, values)
        context = state.of_rows(context.transpose(1, 2).reshape(mean.shape)) * torch.sigmoid(self.gate(h1))
        h2, c2 = self.language_lstm(torch.cat((context, h1), -1), (h2, c2))
        state.hidden = [h1, c1, h2, c2]
        # Xu et al., equation 7: the previous word, the hidden state and the context are added.
        features: Tensor = self.dropout(word + self.from_hidden(h2) + self.from_context(context))
        return features


class MergeDecoder(nn.Module):
    """An LSTM over words only, whose state is merged with the image's vector in a dense layer."""

    def __init__(self, config: ImgcapConfig, channels: int) -> None:
        super().__init__()
        width = config.hidden_size
        self.project = nn.Linear(channels, width)
        self.norm = nn.LayerNorm(width)
        self.lstm = nn.LSTMCell(width, width)
        self.merge = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(config.dropout)

    def start(self, grid: Tensor, captions: int) -> DecoderState:
        """Return the state before the first word of `captions` captions per image; grid is (B, P, C)."""
        picture = self.dropout(relu(self.norm(self.project(grid.mean(1))))).repeat_interleave(captions, 0)
        zeros = torch.zeros_like(picture)
        return DecoderState([zeros, zeros], (picture,))

    def step(self, word: Tensor, state: DecoderState) -> Tensor:
        """Return features for the softmax (N, D) for embedded words (N, D), and advance `state` by one word."""
        h, c = self.lstm(word, tuple(state.hidden))
        state.hidden = [h, c]
        merged = torch.cat((self.dropout(h), state.of_rows(state.memory[0])), -1)
        features: Tensor = self.dropout(relu(self.merge(merged)))
        return features


class ImgcapForImageCaptioning(PreTrainedModel, GenerationMixin):
    """The captioner: `generate()` writes captions, `forward()` scores them."""

    config_class = ImgcapConfig
    base_model_prefix = "imgcap"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    accepts_loss_kwargs = False
    _is_stateful = True

    def __init__(self, config: ImgcapConfig) -> None:
        super().__init__(config)
        self._tied_weights_keys = {"lm_head.weight": "embedding.weight"} | {
            f"more_decoders.{i}.project.{name}": f"decoder.project.{name}"
            for i in range(config.decoders - 1)
            for name in ("weight", "bias")
        }
        self.encoder = Encoder(config.encoder)
        decoder = AttentionDecoder if config.decoder == "attention" else MergeDecoder
        self.decoder = decoder(config, self.encoder.channels)
        self.more_decoders = nn.ModuleList(decoder(config, self.encoder.channels) for _ in range(config.decoders - 1))
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)
        self.embedding_dropout = nn.Dropout(config.dropout)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the state is an LSTM's, not keys and values

    def get_encoder(self, *_: Any, **__: Any) -> nn.Module:
        """Return the module that `generate` runs once per batch."""
        return self.encoder

    @property
    def decoders(self) -> list[AttentionDecoder | MergeDecoder]:
        """Return all decoders; there are several where their probabilities are averaged."""
        return [self.decoder, *self.more_decoders]

    def start(self, grid: Tensor, captions: int) -> DecoderStates:
        """Return the states before the first word of `captions` captions per image; grid is (B, P, C)."""
        return DecoderStates([decoder.start(grid, captions) for decoder in self.decoders])

    def read(self, words: Tensor, states: DecoderStates) -> Tensor:
        """Return logits (N, T, V) of the words after the ids `words` (N, T), and advance `states` by T words.

        With several decoders they are the logarithm of the mean probability, and their softmax is that mean.
        """
        embedded = self.embedding_dropout(self.embedding(words)).unbind(1)
        states.length += len(embedded)
        logits = [
            self.lm_head(torch.stack([decoder.step(word, state) for word in embedded], 1))
            for decoder, state in zip(self.decoders, states.each, strict=True)
        ]
        mean: Tensor = logits[0]
        if len(logits) > 1:
            logarithms = torch.stack([one.float().log_softmax(-1) for one in logits])
            mean = logarithms.logsumexp(0) - math.log(len(logits))
        return mean

    def get_input_embeddings(self) -> nn.Module:
        """Return the word embedding."""
        return self.embedding

    def get_output_embeddings(self) -> nn.Module:
        """Return the layer before the softmax."""
        return self.lm_head

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.LSTMCell):
            init.xavier_uniform_(module.weight_ih)
            init.orthogonal_(module.weight_hh)
            init.zeros_(module.bias_hh)
            bias = torch.zeros_like(module.bias_ih)
            # The forget gate starts open (Jozefowicz et al., 2015).
            bias[module.hidden_size : 2 * module.hidden_size] = 1.0
            init.copy_(module.bias_ih, bias)
        elif isinstance(module, nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=module.embedding_dim**-0.5)
        elif isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def forward(
        self,
        pixel_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        labels: Tensor | None = None,
        encoder_outputs: BaseModelOutput | tuple[Tensor, ...] | None = None,
        past_key_values: DecoderStates | None = None,
        use_cache: bool | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """Score captions.

        pixel_values: (B, 3, S, S) float, normalised as the image processor does; or `encoder_outputs` in its place,
            whose first entry is the grid (B, P, C). With `past_key_values`, neither is read.
        decoder_input_ids: (N, T) int64, each beginning with the start token; made from `labels` if absent.
        labels: (N, T) int64, the words after the start token, the end token last, and -100 for what is not scored.

        Returns logits (N, T, V), the mean cross-entropy as `loss` if labels are given, and the state.
        Raises ValueError if images or words are missing, or N is not a multiple of B.
        """
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("forward needs decoder_input_ids or labels.")
            decoder_input_ids = shift_right(labels, self.config.decoder_start_token_id, self.config.pad_token_id)
        if past_key_values is None:
            if encoder_outputs is None:
                if pixel_values is None:
                    raise ValueError("forward needs pixel_values or encoder_outputs.")
                encoder_outputs = self.encoder(pixel_values)
            grid = encoder_outputs[0]
            captions, rest = divmod(len(decoder_input_ids), len(grid))
            if rest or not captions:
                raise ValueError(f"{len(decoder_input_ids)} captions cannot be shared among {len(grid)} pictures.")
            past_key_values = self.start(grid, captions)
        logits = self.read(decoder_input_ids, past_key_values)
        loss = None
        if labels is not None:
            loss = cross_entropy(logits.flatten(0, 1).float(), labels.flatten())
        return Seq2SeqLMOutput(loss=loss, logits=logits, past_key_values=past_key_values if use_cache else None)
