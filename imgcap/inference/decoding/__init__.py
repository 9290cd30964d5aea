"""Turn probabilities of words into captions: search for them, draw them, score them."""
