"""Code that a test runs in a process of its own, because it changes the whole process."""

import os
import subprocess
import sys
import textwrap

START = """
import gact, os, threading, torch
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
MIB = 2**20
"""


def run(code, **environment):
    """Runs code on one thread; what it prints, in words."""
    done = subprocess.run(
        [sys.executable, "-c", START + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
