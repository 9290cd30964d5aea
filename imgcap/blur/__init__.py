"""Measure how sharp an RGB array is, and decide whether that is enough to describe it."""
