from imgcap.cli import main

main()
