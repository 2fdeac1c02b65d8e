"""The table of combinations in the docs is that of the tests."""

import re
from pathlib import Path

from combinations import BEGIN, CELLS, END, PAGE, render


def test_every_cell_of_the_table_names_a_test_that_exists():
    for tests in CELLS.values():
        for test in filter(None, tests):
            file, _, name = test.partition("::")
            function = re.match(r"\w+", name)[0]
            assert f"def {function}(" in Path(__file__).with_name(file).read_text()


def test_the_table_in_the_docs_says_what_the_tests_found():
    every = {test: "passed" for tests in CELLS.values() for test in tests if test}
    table = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert table == render(every)
