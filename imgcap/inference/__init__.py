"""Write captions with a checkpoint."""
