"""Caption many images of one user in the background."""
