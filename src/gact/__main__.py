"""``python -m gact`` is the command ``gact``."""

from .cli import main

main()
