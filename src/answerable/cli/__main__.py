"""`python -m answerable.cli`."""

from answerable.cli import main

main()
