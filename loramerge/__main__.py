"""`python -m loramerge`."""

from loramerge.cli import main

main()
