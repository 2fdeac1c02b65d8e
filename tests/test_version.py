"""The version of a source tree that is not installed."""

import subprocess
import sys

HIDDEN = """
import importlib.metadata as metadata

def version(name, found=metadata.version):
    if name == "gact":
        raise metadata.PackageNotFoundError(name)
    return found(name)

metadata.version = version
import gact
print(gact.__version__)
"""


def test_a_source_tree_is_imported_without_metadata():
    done = subprocess.run([sys.executable, "-c", HIDDEN], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "0+unknown", done.stderr
