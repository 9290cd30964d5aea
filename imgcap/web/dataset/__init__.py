"""The test split of a data set, captioned beside people's captions."""
