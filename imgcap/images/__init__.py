"""Bytes, files and links become RGB arrays, safely."""
