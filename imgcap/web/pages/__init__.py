"""The pages that work without JavaScript."""
