"""Many pictures of one user, captioned in the background."""
