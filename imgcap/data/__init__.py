"""Flickr8k and data sets like it, through `datasets`: images with captions, vocabulary, augmentation and batches."""

FLICKR8K = "jxie/flickr8k"  # the default data set, on the Hub
