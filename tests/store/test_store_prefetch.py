"""The order of loads: learnt from the last backward, harmless when it is wrong."""

import pytest

from gact.store.extents import Extents
from gact.store.prefetch import Order, Window


class Entry:
    def __init__(self, number):
        self.number = number


def step(order, count):
    order.begin()
    entries = [Entry(number) for number in range(count)]
    return entries, [order.add(entry) for entry in entries]


def asked(order, places, numbers, count=2):
    return [[entry.number for entry in order.ask(places[number], count)] for number in numbers]


def test_the_first_backward_is_expected_to_run_in_reverse():
    order = Order()
    _alive, places = step(order, 5)
    assert asked(order, places, [4, 3, 2, 1, 0]) == [[3, 2], [2, 1], [1, 0], [0], []]


def test_the_next_backward_is_expected_to_run_like_the_last():
    order = Order()
    _alive, places = step(order, 5)
    asked(order, places, [2, 4, 0, 3, 1])
    _alive, places = step(order, 5)
    assert asked(order, places, [2, 4, 0, 3, 1]) == [[4, 0], [0, 3], [3, 1], [1], []]


def test_what_is_dead_or_was_asked_for_is_not_expected():
    order = Order()
    alive, places = step(order, 5)
    asked(order, places, [3])
    alive[2] = None
    assert asked(order, places, [4]) == [[1, 0]]


def test_a_step_without_backward_teaches_nothing():
    order = Order()
    _alive, places = step(order, 3)
    asked(order, places, [0, 1, 2])
    _first, _ = step(order, 3)
    _second, places = step(order, 3)
    assert asked(order, places, [0], 3) == [[1, 2]]


def test_a_shorter_step_ends_the_guesses():
    order = Order()
    _alive, places = step(order, 4)
    asked(order, places, [0, 3, 1, 2])
    _alive, places = step(order, 2)
    assert asked(order, places, [0, 1]) == [[], []]


def test_an_order_that_runs_in_a_circle_ends():
    order = Order()
    _alive, places = step(order, 3)
    asked(order, places, [0, 1])
    order._after[1] = 0
    _alive, places = step(order, 3)
    assert asked(order, places, [0], 5) == [[1]]


def test_an_older_graph_is_followed_in_its_own_step():
    order = Order()
    _old, old_places = step(order, 3)
    _new, _ = step(order, 3)
    assert [entry is _old[1] for entry in order.ask(old_places[2], 1)] == [True]


def test_the_window_lets_the_oldest_go():
    window = Window(10)
    assert window.add("a", 4) == []
    assert window.add("b", 4) == []
    assert window.add("a", 5) == []
    assert window.add("c", 6) == ["b", "a"]
    window.discard("c")
    window.discard("c")
    assert window.nbytes == 0
    assert window.add("large", 100) == []


def test_freed_ranges_are_used_again_and_joined():
    extents = Extents()
    starts = [extents.take(10) for _ in range(4)]
    assert starts == [0, 10, 20, 30]
    extents.give(10, 10)
    assert extents.take(4) == 10
    assert extents.take(6) == 14
    extents.give(20, 10)
    extents.give(0, 10)
    extents.give(10, 10)
    assert extents.take(30) == 0
    assert extents.end == 40
    extents.give(30, 10)
    assert extents.take(25) == 30
    assert extents.end == 55


@pytest.mark.parametrize("seed", range(5))
def test_ranges_in_use_never_overlap(seed):
    import random

    generator, extents, used = random.Random(seed), Extents(), {}
    for _ in range(500):
        if used and generator.random() < 0.5:
            start = generator.choice(list(used))
            extents.give(start, used.pop(start))
        else:
            size = generator.randint(0, 50)
            start = extents.take(size)
            if size:
                assert all(start + size <= other or other + length <= start for other, length in used.items())
                assert start + size <= extents.end
                used[start] = size
    for start, size in used.items():
        extents.give(start, size)
    assert extents._starts == [0]
    assert extents._sizes == [extents.end]
