"""`python -m lrsearch`, the same as the `lrsearch` command."""

from lrsearch.cli import main

main()
