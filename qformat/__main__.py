"""``python -m qformat``."""

from qformat.cli.main import main

main()
