"""The example of the README runs as it is printed."""

import re
from pathlib import Path

import torch

README = Path(__file__).parents[2] / "README.md"


def test_the_readme_example_runs(capsys):
    text = README.read_text(encoding="utf-8")
    block = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert block is not None
    loader = [(torch.randn(256, 784), torch.randint(0, 10, (256,))) for _ in range(2)]
    exec(compile(block[1], str(README), "exec"), {"loader": loader})
    assert "x smaller" in capsys.readouterr().out


def test_local_links_of_the_readme_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
