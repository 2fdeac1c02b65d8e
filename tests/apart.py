"""Code that a test runs in a process of its own, because it changes the whole process."""

import os
import textwrap

import forked

START = """
import gact, os, threading, torch
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096
MIB = 2**20
"""


def run(code, **environment):
    """Runs code on one thread; what it prints, in words."""
    done = forked.run("-c", START + textwrap.dedent(code), env=os.environ | environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()
