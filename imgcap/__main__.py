"""`python -m imgcap`."""

from imgcap.cli import main

main()
