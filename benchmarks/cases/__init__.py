"""The cases, one file each; ``benchmarks/run.py`` finds them by name. Files that begin with ``_`` are no cases."""
