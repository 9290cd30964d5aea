"""Choose among captions, and say how sure they are and whether they can be trusted at all."""
