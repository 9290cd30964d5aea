"""Score captions against people's captions."""
