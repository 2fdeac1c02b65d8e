"""Ctrl-C at a chosen place: the n-th line, or the n-th time that Python looks for signals."""

import contextlib
import functools
import itertools
import linecache
import os
import sys

import gact

PACKAGE = os.path.join(os.path.dirname(gact.__file__), "")


@functools.cache
def is_with(file, line):
    """Whether a line of a file begins a ``with``."""
    return linecache.getline(file, line).lstrip().startswith("with ")


class Stop:
    """Where the interrupt came: a code object and a line number."""

    def __init__(self, at):
        self.at, self.count, self.code, self.line = at, -1, None, None

    def here(self, frame):
        """Counts a place; interrupts at the one."""
        self.count += 1
        if self.count == self.at:
            sys.settrace(None)
            sys.setprofile(None)
            self.code, self.line = frame.f_code, frame.f_lineno
            raise KeyboardInterrupt


def is_dying(frame):
    """Whether a frame runs for a ``__del__``, torch's mostly, out of which Python lets no error."""
    while frame is not None and frame.f_code.co_filename != __file__:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def lines(stop, run):
    """Stops at a line of gact's, but not where a ``with`` is left: a signal is never seen there."""
    entered = set()

    def trace(frame, event, _argument):
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            place = (frame, frame.f_lineno)
            if place not in entered and not is_dying(frame):
                stop.here(frame)
            if is_with(frame.f_code.co_filename, frame.f_lineno):
                entered.add(place)
        return trace

    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(None)


def signals(stop, run, folder=""):
    """Stops where CPython looks for signals: where a function begins, and where a C function returns.

    Args:
        stop: The place.
        run: What is interrupted.
        folder: Only there; "" for anywhere.
    """

    def profile(frame, event, _argument):
        file = frame.f_code.co_filename
        if event == "call" and sys.version_info < (3, 11) and frame.f_lasti >= 0:
            return  # a generator goes on: what is raised here then is raised outside of all that it guards
        if event in ("call", "c_return") and file.startswith(folder) and file != __file__ and not is_dying(frame):
            stop.here(frame)

    sys.setprofile(profile)
    try:
        run()
    finally:
        sys.setprofile(None)


def everywhere(way, prepare, run):
    """Runs something again and again, interrupted at one place after the other, until it is not; yields where it was.

    Args:
        way: ``lines`` or ``signals``.
        prepare: Called before each time.
        run: What is interrupted.
    """
    for at in itertools.count():
        stop = Stop(at)
        prepare()
        with contextlib.suppress(KeyboardInterrupt):
            way(stop, run)
            assert stop.code is None, f"the interrupt in {stop.code.co_name} at line {stop.line} was lost"
        yield stop
        if stop.code is None:
            return
