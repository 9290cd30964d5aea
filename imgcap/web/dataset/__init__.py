"""Show the test split of a data set with the model's captions beside people's captions."""
