"""Callbacks whose errors Python drops do their work when they are interrupted, and the interrupt is not lost."""

import signal
import time

import pytest
import torch

from gact.autograd.interrupts import finish
from gact.store import disk


@pytest.fixture(autouse=True)
def _interrupts_are_raised():
    """As where somebody sits in front of it: what a shell starts in the background is deaf to them."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Dies:
    """Notes that it died, and is interrupted the first time."""

    def __init__(self, notes):
        self.notes, self.calls = notes, 0

    def note(self):
        self.calls += 1
        if self.calls == 1:
            raise KeyboardInterrupt
        self.notes.append("died")

    def __del__(self):
        finish(self.note)


def drop_and_wait(things):
    """Drops the last reference to what is in a list, and waits for an interrupt."""
    things.clear()
    for _ in range(3000):
        time.sleep(0.01)


def test_an_interrupt_in_a_del_is_raised_afterwards_and_the_work_is_done():
    notes = []
    with pytest.raises(KeyboardInterrupt):
        drop_and_wait([Dies(notes)])
    assert notes == ["died"]


def test_other_errors_are_those_of_the_callback():
    with pytest.raises(ZeroDivisionError):
        finish(lambda: 1 / 0)


def test_an_interrupt_while_a_ticket_dies_leaves_nothing_on_the_disk(tmp_path, monkeypatch):
    store, calls = disk.DiskStore(tmp_path), []
    real = store._engine.release

    def interrupted(entry):
        calls.append(entry)
        if len(calls) == 1:
            raise KeyboardInterrupt
        real(entry)

    monkeypatch.setattr(store._engine, "release", interrupted)
    with pytest.raises(KeyboardInterrupt):
        drop_and_wait([store.put((torch.ones(1000),))])
    store.close()
    store._engine._threads[0].join(30)
    assert not store._engine._threads[0].is_alive()
