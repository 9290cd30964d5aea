"""Train a checkpoint from a recipe."""
