"""Build and push the contents of repositories on the Hub: models, Spaces and data set cards."""
