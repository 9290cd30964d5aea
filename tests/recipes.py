"""Recipes that run in seconds."""

from pathlib import Path

from imgcap.training.recipe import Recipe


def small(folder: Path, source: Path, **options) -> Recipe:
    """A recipe that runs in seconds."""
    settings = {
        "output": str(folder / "run"), "data": str(source), "cache": str(folder / "cache"), "encoder": "resnet18",
        "encoder_weights": "none", "hidden_size": 32, "num_attention_heads": 2, "min_count": 1, "epochs": 2,
        "batch_size": 4, "warmup_steps": 0, "feature_views": 2, "num_beams": 2, "max_length": 14, "dropout": 0.1,
        "workers": 0, "bf16": False,
    }  # fmt: skip
    return Recipe(**(settings | options))


def without_chance(folder: Path, source: Path) -> Recipe:
    """A small recipe without dropout and with one view, so that several processes draw nothing of their own."""
    return small(folder, source, epochs=2, dropout=0.0, feature_views=1, learning_rate=1e-3)
