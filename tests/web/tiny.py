"""A captioner of the real architecture with random weights and a few dozen words."""

from pathlib import Path

CAPTIONS = [
    "a brown dog runs through the green grass",
    "two children play with a red ball on the beach",
    "a man in a blue shirt rides a bicycle down the street",
    "a woman stands near a white building",
    "a black cat sits on a wooden table",
]


def save_tiny_captioner(folder: Path) -> None:
    """Write a randomly initialised captioner that loads in a fraction of a second."""
    from imgcap.model import torchvision_ops  # noqa: F401, I001  must come before torchvision and transformers
    import torch

    from imgcap.inference.checkpoint import save_captioner
    from imgcap.data.vocabulary import build_tokenizer
    from imgcap.model import ImgcapConfig, ImgcapForImageCaptioning, ImgcapImageProcessor, ImgcapProcessor

    torch.manual_seed(0)
    tokenizer = build_tokenizer(CAPTIONS, min_count=1)
    config = ImgcapConfig(
        encoder="mobilenet_v3_small", vocab_size=len(tokenizer), hidden_size=32, num_attention_heads=4, image_size=64,
        confidence_slope=0.5, confidence_intercept=2.0,
    )  # fmt: skip
    model = ImgcapForImageCaptioning(config)
    with torch.no_grad():
        model.embedding.weight.mul_(0.5)  # less sure of itself, so that it has other captions to offer
    model.generation_config.update(max_length=12, num_beams=5, suppress_tokens=[0, 1, 3])
    processor = ImgcapProcessor(ImgcapImageProcessor(size={"height": 64, "width": 64}), tokenizer)
    save_captioner(folder, model, processor)
