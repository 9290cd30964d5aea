"""An RGB array is judged: how sharp it is, and whether that is enough to describe it."""
