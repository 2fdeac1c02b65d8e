"""The lines of the README run as they are printed."""

import re
from pathlib import Path

import torch
from torch import nn

README = Path(__file__).parents[2] / "README.md"


def test_the_lines_of_the_readme_run(capsys):
    text = README.read_text(encoding="utf-8")
    block = re.search(r"```diff\n(.*?)```", text, re.DOTALL)
    assert block is not None
    code = "import gact\n" + "".join(f"{line[2:]}\n" for line in block[1].splitlines())
    model = nn.Sequential(nn.Linear(784, 1024), nn.GELU(), nn.Linear(1024, 10))
    before = [parameter.detach().clone() for parameter in model.parameters()]
    names = {
        "model": model,
        "loader": [(torch.randn(256, 784), torch.randint(0, 10, (256,))) for _ in range(2)],
        "criterion": nn.functional.cross_entropy,
        "optimizer": torch.optim.AdamW(model.parameters()),
    }
    exec(compile(code, str(README), "exec"), names)
    assert "x smaller" in capsys.readouterr().out
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_local_links_of_the_readme_exist():
    links = re.findall(r"\]\(([^)#:]+)\)", README.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (README.parent / link).exists()] == []
