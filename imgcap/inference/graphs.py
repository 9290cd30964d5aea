"""The captioner's parts as plain functions of tensors, which are exported to ONNX and run by the PyTorch engine.

They compute the same as the modules in `imgcap.model`, arranged for serving: the matrix products of a step that share
an input are merged into one, what depends only on the image is computed once, and the attention weights are returned.
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
    """Computes the grid (B, P, C) from normalised pixels (B, 3, S, S), both float32."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.trunk = encoder.trunk

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Run the trunk in its own precision."""
        pixels = pixel_values.to(next(self.trunk.parameters()).dtype)
        grid: Tensor = self.trunk(pixels.contiguous(memory_format=torch.channels_last))
        return grid.flatten(2).transpose(1, 2).float()


class AttentionPart(nn.Module):
    """One attention decoder: `remember` is called once per image, `step` once per word."""

    layers = 4
    remembers = ("keys", "values", "gates")

    def __init__(self, decoder: AttentionDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        width = decoder.norm.normalized_shape[0]
        first, second = decoder.attention_lstm, decoder.language_lstm
        word, mean, hidden = first.weight_ih.split(width, 1)
        self.register_buffer("mean_weight", mean.detach().clone())
        self.register_buffer("mean_bias", (first.bias_ih + first.bias_hh).detach())
        self.first = _linear(torch.cat((word, hidden, first.weight_hh), 1), None)
        self.query_gate = _linear(
            torch.cat((decoder.query.weight, decoder.gate.weight)), torch.cat((decoder.query.bias, decoder.gate.bias))
        )
        self.second = _linear(torch.cat((second.weight_ih, second.weight_hh), 1), second.bias_ih + second.bias_hh)
        self.features = _linear(
            torch.cat((decoder.from_hidden.weight, decoder.from_context.weight), 1),
            decoder.from_hidden.bias + decoder.from_context.bias,
        )

    def remember(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Return keys (B, heads, D / heads, P), values (B, heads, P, D / heads) and gates (B, 4 D) of (B, P, C)."""
        decoder = self.decoder
        cells = decoder.norm(decoder.project(grid))
        split = (decoder.heads, -1)
        keys = decoder.keys(cells + decoder.positions.weight).unflatten(-1, split).permute(0, 2, 3, 1)
        values = decoder.values(cells).unflatten(-1, split).transpose(1, 2)
        gates = linear(cells.mean(1), cast("Tensor", self.mean_weight), cast("Tensor", self.mean_bias))
        return keys.contiguous(), values.contiguous(), gates

    def step(self, word: Tensor, hidden: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Read embedded words (N, D), hidden (4, N, D); return features (N, D), hidden and attention weights (N, P)."""
        keys, values, gates = memory
        h1, c1, h2, c2 = hidden.unbind(0)
        pictures, heads = keys.size(0), self.decoder.heads
        of_word = self.first(torch.cat((word, h2, h1), -1))
        h1, c1 = _lstm((of_word.view(pictures, -1, of_word.size(-1)) + gates.unsqueeze(1)).view_as(of_word), c1)
        query, gate = self.query_gate(h1).chunk(2, -1)
        # (N, D) -> (B, heads, n, D / heads): the n captions of an image are n queries to the same keys.
        queries = query.view(pictures, -1, heads, keys.size(2)).transpose(1, 2) * keys.size(2) ** -0.5
        weights = torch.softmax(queries @ keys, -1)
        context = (weights @ values).transpose(1, 2).reshape(h1.shape) * torch.sigmoid(gate)
        h2, c2 = _lstm(self.second(torch.cat((context, h1, h2), -1)), c2)
        looked = weights.mean(1).reshape(-1, keys.size(3))
        features = word + self.features(torch.cat((h2, context), -1))
        return features, torch.stack((h1, c1, h2, c2)), looked


class MergePart(nn.Module):
    """One merge decoder: `remember` is called once per image, `step` once per word."""

    layers = 2
    remembers = ("picture",)

    def __init__(self, decoder: MergeDecoder) -> None:
        super().__init__()
        self.decoder = decoder
        lstm = decoder.lstm
        self.cell = _linear(torch.cat((lstm.weight_ih, lstm.weight_hh), 1), lstm.bias_ih + lstm.bias_hh)
        hidden, picture = decoder.merge.weight.chunk(2, 1)
        self.from_hidden = _linear(hidden, None)
        self.from_picture = _linear(picture, decoder.merge.bias)

    def remember(self, grid: Tensor) -> tuple[Tensor, ...]:
        """Return the image's share of the dense layer, (B, D), from a grid (B, P, C)."""
        return (self.from_picture(relu(self.decoder.norm(self.decoder.project(grid.mean(1))))),)

    def step(self, word: Tensor, hidden: Tensor, memory: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, None]:
        """Read embedded words (N, D), hidden (2, N, D); return features (N, D), hidden and None."""
        h, c = hidden.unbind(0)
        h, c = _lstm(self.cell(torch.cat((word, h), -1)), c)
        merged = self.from_hidden(h)
        merged = (merged.view(memory[0].size(0), -1, merged.size(-1)) + memory[0].unsqueeze(1)).view_as(merged)
        return relu(merged), torch.stack((h, c)), None


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
        self.embedding, self.lm_head = model.embedding, model.lm_head
        self.layers = sum(part.layers for part in parts)
        self.looks = isinstance(parts[0], AttentionPart)

    def forward(self, words: Tensor, hidden: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """Read one word.

        Args:
            words: (N,) int64.
            hidden: (L, N, D), the decoders' layers one after the other.
            memory: the result of `DecoderStartGraph`.

        Returns:
            log-probabilities (N, V) float32, hidden (L, N, D) and, from attention decoders, their mean weights (N, P).
        """
        word = self.embedding(words)
        logarithms, states, looks = [], [], []
        for part in self.parts:
            of_part, hidden = hidden[: part.layers], hidden[part.layers :]
            own, memory = memory[: len(part.remembers)], memory[len(part.remembers) :]  # type: ignore[arg-type]
            features, state, looked = part.step(word, of_part, own)  # type: ignore[operator]
            logarithms.append(self.lm_head(features).float().log_softmax(-1))
            states.append(state)
            looks.append(looked)
        if len(logarithms) > 1:
            logarithms = [torch.stack(logarithms).logsumexp(0) - math.log(len(logarithms))]
        results = (logarithms[0], torch.cat(states) if len(states) > 1 else states[0])
        return (*results, torch.stack(looks).mean(0)) if self.looks else results


def decoder_graphs(model: ImgcapForImageCaptioning) -> tuple[DecoderStartGraph, DecoderStepGraph]:
    """Return the two graphs of a model's decoder or decoders, in evaluation mode."""
    decoders = [model.decoder, *getattr(model, "more_decoders", ())]
    parts = [AttentionPart(one) if isinstance(one, AttentionDecoder) else MergePart(one) for one in decoders]
    return DecoderStartGraph(parts).eval(), DecoderStepGraph(model, parts).eval()


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    layer = nn.Linear(weight.size(1), weight.size(0), bias=bias is not None, device=weight.device, dtype=weight.dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(bias)
    return layer.requires_grad_(requires_grad=False)


def _lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Return the next h and c (N, D) from the gates' sums (N, 4 D), in PyTorch's order, and c."""
    let_in, forget, new, out = gates.chunk(4, -1)
    cell = torch.sigmoid(forget) * cell + torch.sigmoid(let_in) * torch.tanh(new)
    return torch.sigmoid(out) * torch.tanh(cell), cell
