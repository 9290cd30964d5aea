"""`python -m imgcap`: the command line."""

from imgcap.cli.main import main

main()
