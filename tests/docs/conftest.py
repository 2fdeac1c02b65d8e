import importlib.util

import pytest
from blocks import DOCS


@pytest.fixture(scope="session")
def hooks():
    """Loads a module of the site's own, by name."""

    def load(name):
        spec = importlib.util.spec_from_file_location(name, DOCS / f"hooks/{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
