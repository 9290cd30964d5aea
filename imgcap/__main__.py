"""`python -m imgcap`."""

from imgcap.cli.main import main

main()
