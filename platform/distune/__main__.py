"""``python -m distune``: the command line."""

from distune.cli.main import main

main()
