"""One line for trainers of other libraries: ``transformers`` (and TRL), ``lightning``.

Neither is a dependency: import the module of the library that is there.
"""
