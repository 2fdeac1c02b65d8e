"""A store on disk that is interrupted anywhere goes on: nothing is locked, nobody waits for what does not come."""

import threading
from functools import partial

import pytest
import torch

from gact.store.disk import DiskStore
from interrupts import everywhere, signals

# What an interrupted call had made dies without its ``__init__``.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
PARTS = (torch.arange(5000.0), torch.arange(300))


def works(store):
    """Whether another thread can put and load, and nothing is waited for that does not come."""
    got = []

    def use():
        ticket = store.put(PARTS)
        with store._engine.changed:
            store._engine.changed.wait_for(lambda: not store._engine.waiting)
        got.extend(ticket.load())

    thread = threading.Thread(target=use, daemon=True)
    thread.start()
    thread.join(20)
    return len(got) == 2 and all(map(torch.equal, got, PARTS))


@pytest.fixture
def store(tmp_path):
    """A store whose threads run: nothing guards what Python's ``Thread.start`` does."""
    store = DiskStore(tmp_path, prefetch_bytes=0)
    store.put(PARTS)
    return store


def test_put(store):
    tickets = []
    for stop in everywhere(signals, tickets.clear, lambda: tickets.append(store.put(PARTS))):
        assert works(store), (stop.code, stop.line)
    assert stop.at > 20


def test_load(store):
    engine, ticket = store._engine, store.put(PARTS)

    def written():
        others = store.put(PARTS)
        with engine.changed:
            engine.changed.wait_for(lambda: not engine.waiting)
        others.load()  # which takes the place of the other in memory

    for stop in everywhere(signals, written, ticket.load):
        assert works(store), (stop.code, stop.line)
        assert all(map(torch.equal, ticket.load(), PARTS))
    assert stop.at > 20


def test_a_ticket_that_is_interrupted_is_released(store):
    for _ in everywhere(signals, lambda: None, partial(store.put, PARTS)):
        pass
    store.close()
    store._engine._threads[0].join(30)
    assert not store._engine._threads[0].is_alive()
