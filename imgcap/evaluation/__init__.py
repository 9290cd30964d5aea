"""Captions are scored against those of people."""
