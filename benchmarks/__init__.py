"""Measurements behind the figures of the documentation; see ``docs/benchmarks.md``."""
