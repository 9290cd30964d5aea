"""The captioner's parts as plain functions of tensors, which are exported to ONNX and run by the PyTorch engine.

They compute the same as the modules in `imgcap.model`, arranged for serving: the matrix products of a step that share
an input are merged into one, what depends only on the image is computed once, what depends only on a word is looked up
in a table, and the attention weights are returned. A step's tensors have a dimension for the images and one for the
captions of an image, (B, n, ...), so that none has to be reshaped.
Several decoders write together by the mean of their probabilities.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

from imgcap.model import ImgcapForImageCaptioning
from imgcap.model.modeling_imgcap import AttentionDecoder, Encoder, MergeDecoder


class EncoderGraph(nn.Module):
    """Computes the grid (B, P, C) from normalised pixels (B, 3, S, S), both float32.

    Mean and maximum of the feature map that the last block reads, (B, E) each, come with it, for
    `imgcap.inference.engines.engine.Features`.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.before, self.last = _split(encoder.trunk)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Run the trunk in its own precision."""
        pixels = pixel_values.to(next(self.last.parameters()).dtype)
        early: Tensor = self.before(pixels.contiguous(memory_format=torch.channels_last))
        grid = self.last(early).flatten(2).transpose(1, 2).float()
        return grid, early.float().mean((2, 3)), early.float().amax((2, 3))


def _split(trunk: nn.Sequential) -> tuple[nn.Sequential, nn.Sequential]:
    """Split a trunk before its last block with a convolution: a residual one, or a convolution with what follows it."""
    last = max(i for i, part in enumerate(trunk) if any(isinstance(module, nn.Conv2d) for module in part.modules()))
    parts = list(trunk)
    before, part, after = parts[:last], parts[last], parts[last + 1 :]
    if not isinstance(part, nn.Sequential):
        return nn.Sequential(*before), nn.Sequential(part, *after)
    inner, rest = _split(part)
    return nn.Sequential(*before, *inner), nn.Sequential(*rest, *after)


class AttentionPart(nn.Module):
    """One attention decoder: `remember` is called once per image, `step` once per word.

    Its hidden state is h1, h2, c1 and c2 side by side.
    """

    remembers = ("keys", "values", "gates")

    def __init__(self, decoder: AttentionDecoder, embedding: nn.Embedding) -> None:
        super().__init__()
        self.decoder = decoder
        self.width: int = decoder.norm.normalized_shape[0]
        self.hidden = 4 * self.width
        first, second = decoder.attention_lstm, decoder.language_lstm
        word, mean, h2 = _in_order(first.weight_ih).split(self.width, 1)
        self.register_buffer("mean_weight", mean.detach().clone())
        self.register_buffer("mean_bias", _in_order(first.bias_ih + first.bias_hh).detach())
        self.table = _table(embedding.weight @ word.T, embedding.weight)
        self.first = _linear(torch.cat((_in_order(first.weight_hh), h2), 1), None)
        scale = (self.width // decoder.heads) ** -0.5
        self.query_gate = _linear(
            torch.cat((decoder.query.weight * scale, decoder.gate.weight)),
            torch.cat((decoder.query.bias * scale, decoder.gate.bias)),
        )
        self.second = _linear(
            _in_order(torch.cat((second.weight_ih, second.weight_hh), 1)), _in_order(second.bias_ih + second.bias_hh)
        )
        self.features = _linear(
            torch.cat((decoder.from_context.weight, decoder.from_hidden.weight), 1),
            decoder.from_hidden.bias + decoder.from_context.bias,
        )

    def remember(self, grid: Tensor) -> tuple[Tensor, ...]:
        """(B, P, C) -> keys (B, heads, D / heads, P), values (B, heads, P, D / heads), gates (B, 1, 4 D)."""
        decoder = self.decoder
        cells = decoder.norm(decoder.project(grid))
        split = (decoder.heads, -1)
        keys = decoder.keys(cells + decoder.positions.weight).unflatten(-1, split).permute(0, 2, 3, 1)
        values = decoder.values(cells).unflatten(-1, split).transpose(1, 2)
        mean = cells.mean(1, keepdim=True)
        gates = linear(mean, cast("Tensor", self.mean_weight), cast("Tensor", self.mean_bias))
        return keys.contiguous(), values.contiguous(), gates

    def step(self, words: Tensor, hidden: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Read ids (B, n), hidden (B, n, 4 D); return features (B, n, D), hidden and attention weights (B, n, P)."""
        keys, values, gates = memory
        width, heads = self.width, self.decoder.heads
        of_word, word = self.table(words).split((4 * width, width), -1)
        h, c1, c2 = hidden.split((2 * width, width, width), -1)
        h1, c1 = _lstm(self.first(h) + of_word + gates, c1, width)
        query, gate = self.query_gate(h1).split((width, width), -1)
        # Sizes are read from the tensor that is reshaped, which ONNX Runtime then does without computing them.
        queries = query.view(query.size(0), query.size(1), heads, width // heads).transpose(1, 2)
        weights = torch.softmax(queries @ keys, -1)
        looked = (weights @ values).transpose(1, 2)
        context = looked.reshape(looked.size(0), looked.size(1), width) * torch.sigmoid(gate)
        _, h2 = h.split((width, width), -1)
        h2, c2 = _lstm(self.second(torch.cat((context, h1, h2), -1)), c2, width)
        features = word + self.features(torch.cat((context, h2), -1))
        return features, torch.cat((h1, h2, c1, c2), -1), weights.mean(1)


class MergePart(nn.Module):
    """One merge decoder: `remember` is called once per image, `step` once per word.

    Its hidden state is h and c side by side.
    """

    remembers = ("picture",)

    def __init__(self, decoder: MergeDecoder, embedding: nn.Embedding) -> None:
        super().__init__()
        self.decoder = decoder
        lstm = decoder.lstm
        self.width: int = lstm.hidden_size
        self.hidden = 2 * self.width
        bias = lstm.bias_ih + lstm.bias_hh
        self.table = _table(embedding.weight @ _in_order(lstm.weight_ih).T + _in_order(bias))
        self.cell = _linear(_in_order(lstm.weight_hh), None)
        hidden, picture = decoder.merge.weight.chunk(2, 1)
        self.from_hidden = _linear(hidden, None)
        self.from_picture = _linear(picture, decoder.merge.bias)

    def remember(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Return the image's share of the dense layer, (B, 1, D), from a grid (B, P, C)."""
        mean = grid.mean(1, keepdim=True)
        return (self.from_picture(relu(self.decoder.norm(self.decoder.project(mean)))),)

    def step(self, words: Tensor, hidden: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, None]:
        """Read ids (B, n), hidden (B, n, 2 D); return features (B, n, D), hidden and None."""
        h, c = hidden.split((self.width, self.width), -1)
        h, c = _lstm(self.cell(h) + self.table(words), c, self.width)
        return relu(self.from_hidden(h) + memory[0]), torch.cat((h, c), -1), None


class DecoderStartGraph(nn.Module):
    """Computes the decoders' memories, B rows each, from the grid (B, P, C)."""

    def __init__(self, parts: list[AttentionPart | MergePart]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    @property
    def names(self) -> list[str]:
        """The outputs' names."""
        return [f"{name}_{i}" for i, part in enumerate(self.parts) for name in part.remembers]  # type: ignore[union-attr]

    def forward(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Return the decoders' memories, one after the other."""
        return tuple(tensor for part in self.parts for tensor in part.remember(grid))  # type: ignore[operator]


class DecoderStepGraph(nn.Module):
    """Computes log-probabilities of each caption's next word, its hidden state and its attention weights."""

    def __init__(self, model: ImgcapForImageCaptioning, parts: list[AttentionPart | MergePart]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.lm_head = model.lm_head
        self.widths = [part.hidden for part in parts]
        self.looks = isinstance(parts[0], AttentionPart)

    def forward(self, words: Tensor, hidden: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Read one word.

        Args:
            words: (B, n) int64.
            hidden: (B, n, H), the decoders' hidden states side by side.
            memory: the result of `DecoderStartGraph`.

        Returns:
            log-probabilities (B, n, V) float32, hidden (B, n, H) and, from attention decoders, their mean weights
            (B, n, P).
        """
        logarithms, states, looks = [], [], []
        hiddens = hidden.split(self.widths, -1) if len(self.widths) > 1 else (hidden,)
        for part, of_part in zip(self.parts, hiddens, strict=True):
            own, memory = memory[: len(part.remembers)], memory[len(part.remembers) :]  # type: ignore[arg-type]
            features, state, looked = part.step(words, of_part, own)  # type: ignore[operator]
            logarithms.append(self.lm_head(features).float().log_softmax(-1))
            states.append(state)
            looks.append(looked)
        if len(self.widths) == 1:
            return (logarithms[0], states[0], looks[0]) if self.looks else (logarithms[0], states[0])
        mean = torch.stack(logarithms).logsumexp(0) - math.log(len(logarithms))
        results = (mean, torch.cat(states, -1))
        return (*results, torch.stack(looks).mean(0)) if self.looks else results


def decoder_graphs(model: ImgcapForImageCaptioning) -> tuple[DecoderStartGraph, DecoderStepGraph]:
    """Return the two graphs of a model's decoder or decoders, in evaluation mode."""
    parts: list[AttentionPart | MergePart] = [
        AttentionPart(one, model.embedding) if isinstance(one, AttentionDecoder) else MergePart(one, model.embedding)
        for one in (model.decoder, *getattr(model, "more_decoders", ()))
    ]
    return DecoderStartGraph(parts).eval(), DecoderStepGraph(model, parts).eval()


def _table(*columns: Tensor) -> nn.Embedding:
    """Return the values that depend on a word alone, with a row for each word."""
    table: nn.Embedding = nn.Embedding.from_pretrained(torch.cat(columns, 1).detach())
    return table


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.size(1), weight.size(0), bias=bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer.requires_grad_(requires_grad=False)


def _in_order(gates: Tensor) -> Tensor:
    """Return an LSTM's weights or biases (4 D, ...) with the new value last, after the three gates."""
    let_in, forget, new, out = gates.chunk(4)
    return torch.cat((let_in, forget, out, new))


def _lstm(gates: Tensor, cell: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return the next h and c for the gates' sums (..., 4 D) in the order of `_in_order` and c (..., D)."""
    gates, new = gates.split((3 * width, width), -1)
    let_in, forget, out = torch.sigmoid(gates).split((width, width, width), -1)
    cell = forget * cell + let_in * torch.tanh(new)
    return out * torch.tanh(cell), cell
