"""How large files and functions may get, and how many modules lie in the root: a reader holds one of them at a time."""

import ast
from pathlib import Path

SOURCES = sorted((Path(__file__).parents[2] / "src/gact").rglob("*.py"))
MOST_LINES, MOST_OF_A_FUNCTION, MOST_IN_THE_ROOT = 300, 60, 14


def test_no_file_is_longer():
    lengths = {path.name: len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_no_function_is_longer():
    long = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno is not None:
                length = node.end_lineno - node.lineno + 1
                if length > MOST_OF_A_FUNCTION:
                    long[f"{path.name}: {node.name}"] = length
    assert long == {}


def test_the_root_has_few_modules():
    root = SOURCES[0].parents[0]
    modules = [path.name for path in root.glob("*.py") if not path.name.startswith("__")]
    assert len(modules) <= MOST_IN_THE_ROOT, modules


def test_no_two_test_files_have_one_name():
    names = [path.name for path in Path(__file__).parents[1].rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))  # pytest imports them by their names alone
