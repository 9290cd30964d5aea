"""Flickr8k, and data sets like it, through `datasets`: rows, words, views and batches."""
