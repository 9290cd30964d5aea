"""A recipe becomes a checkpoint."""
