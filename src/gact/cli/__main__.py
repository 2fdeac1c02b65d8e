"""``python -m gact.cli``: the ``gact`` command where the script is not on the path."""

from . import main

main()
