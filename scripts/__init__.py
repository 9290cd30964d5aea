"""Scripts that maintain files of this repository; `make` runs them."""
