"""A checkpoint becomes captions."""
