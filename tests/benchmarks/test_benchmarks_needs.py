"""The table of needs in the docs."""

from benchmarks.needs_table import CHOICES, DOCS, SUBJECTS, rendered, short

from gact.operators import NEEDS, Need


def test_the_table_of_the_docs_is_that_of_the_package():
    text = DOCS.read_text()
    assert rendered(text) == text, "run python benchmarks/needs_table.py"


def test_every_node_and_slot_is_in_the_docs():
    shown = {(name, slot) for table in SUBJECTS.values() for name, slots in table.items() for slot in slots}
    assert shown == {(name, slot) for name, slots in NEEDS.items() for slot in slots}


def test_every_choice_is_described():
    used = {need.__name__ for slots in NEEDS.values() for need in slots.values() if not isinstance(need, Need)}
    assert used == set(CHOICES)


def test_short_names_are_told_apart():
    assert short("AddmmBackward0") == "Addmm"
    assert short("ClampBackward1") == "Clamp1"
    assert short("TanhBackwardBackward0") == "TanhBackward"
    assert len({short(name) for name in NEEDS}) == len(NEEDS)
