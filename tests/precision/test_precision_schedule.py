"""When a measurement is due."""

import pytest

from gact.precision.schedule import Schedule


def due_steps(schedule, steps, succeeds=lambda number: True, incomplete=lambda number: False):
    found = []
    for number in steps:
        if schedule.is_due(number, incomplete(number)):
            found.append(number)
            if succeeds(number):
                schedule.succeeded(number)
    return found


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        (1000, [2, 12, 42, 132, 402, 1212, 2212, 3212]),
        (50, [2, 3, 6, 15, 42, 92, 142, 192]),
        (1, [2, 3, 4, 5, 6, 7, 8, 9]),
    ],
)
def test_distances_grow_to_the_interval(interval, expected):
    assert due_steps(Schedule(interval), range(2, 4000))[:8] == expected


def test_failures_are_tried_again_in_growing_distances():
    found = due_steps(Schedule(1000), range(2, 100), succeeds=lambda number: False)
    assert found == [2, 3, 5, 9, 17, 33, 65]


def test_a_success_ends_the_distances():
    found = due_steps(Schedule(20), range(2, 60), succeeds=lambda number: number > 8)
    assert found == [2, 3, 5, 9, 10, 13, 22, 42]


def test_unknown_sites_call_for_more_in_growing_distances():
    found = due_steps(Schedule(1000), range(2, 80), incomplete=lambda number: number > 2)
    assert found == [2, 3, 6, 13, 23, 24, 27, 34, 49, 79]


def test_known_sites_end_the_early_ones():
    assert due_steps(Schedule(1000), range(2, 90), incomplete=lambda number: 2 < number < 6) == [2, 3, 6, 16, 46]


def test_the_state_is_all_there_is():
    schedule = Schedule(20)
    due_steps(schedule, range(2, 30), incomplete=lambda number: number % 7 == 0)
    twin = Schedule(20, **schedule.state())
    assert due_steps(twin, range(30, 200)) == due_steps(schedule, range(30, 200))
