"""An interrupt at any line, and wherever Python looks for signals, while a context is entered or left."""

import inspect
from functools import partial

import pytest
import torch

import gact
from interrupts import PACKAGE, everywhere, lines, signals
from leftovers import assert_as_new, left_behind
from saved import active_pair

pytestmark = [
    pytest.mark.filterwarnings("ignore:gact compressed nothing"),
    # What torch's weak references to storages do that were interrupted when they were made.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
WAYS = pytest.mark.parametrize("way", [lines, signals])


def leave(c):
    c.__exit__(None, None, None)


def is_before_exit(stop):
    """Whether ``__exit__`` had not begun to do anything: no code can guard its first instructions."""
    code = gact.Compressor.__exit__.__code__
    text, first = inspect.getsourcelines(code)
    guarded = first + next(at for at, line in enumerate(text) if line.strip() == "try:")
    return stop.code is code and stop.line <= guarded


@WAYS
def test_an_interrupt_anywhere_while_entering(way, c, model):
    for count, stop in enumerate(everywhere(way, lambda: None, c.__enter__)):
        if stop.code is None:
            leave(c)
        assert left_behind(c, model) == [], (stop.code, stop.line)
        if count % 8 == 0 or stop.code is None:  # which takes longer than all else
            assert_as_new(c, model)
    assert count > 80


@WAYS
def test_an_interrupt_anywhere_while_leaving(way, c, model):
    def enter():
        c.__enter__()
        model(torch.ones(4, 16))

    for count, stop in enumerate(everywhere(way, enter, partial(c.__exit__, None, None, None))):
        if is_before_exit(stop):
            assert active_pair() is not None
            leave(c)
        assert left_behind(c, model) == [], (stop.code, stop.line)
        if count % 8 == 0 or stop.code is None:  # which takes longer than all else
            assert_as_new(c, model)
    assert count > 80


@WAYS
def test_an_interrupt_anywhere_in_an_entry_inside(way, c, model):
    with c:
        pair = active_pair()
        for stop in everywhere(way, lambda: None, c.__enter__):
            if stop.code is None:
                leave(c)
            assert c._thread.depth == 1
        for stop in everywhere(way, c.__enter__, partial(c.__exit__, None, None, None)):
            if is_before_exit(stop):
                leave(c)
            assert c._thread.depth == 1
        assert active_pair() == pair
    assert_as_new(c, model)


def test_an_interrupt_anywhere_while_hooks_are_switched_off_inside(c, model):
    def switch_off():
        with torch.autograd.graph.disable_saved_tensors_hooks("not here"):
            pass

    with c:
        pair = active_pair()
        for stop in everywhere(partial(signals, folder=PACKAGE), lambda: None, switch_off):
            assert active_pair() == pair, (stop.code, stop.line)
    assert stop.at > 8
    assert_as_new(c, model)
