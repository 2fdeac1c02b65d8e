"""Values of compiled code that are made of integers alone, such as marks of the class of each row, stay exact."""

from contextlib import nullcontext

import pytest
import torch
from torch import nn

import gact

CLASSES = 1000


class Classifier(nn.Module):
    """A row of probabilities beside 999 zeros and a -1: of the zeros each would get noise of its own."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(32, CLASSES)

    def forward(self, x, labels):
        return nn.functional.cross_entropy(self.last(x), labels)


class Marked(Classifier):
    """The same loss written out, with what marks the classes as a float."""

    def forward(self, x, labels):
        marks = nn.functional.one_hot(labels, CLASSES).to(x.dtype)
        return -(torch.log_softmax(self.last(x), 1) * marks).sum(1).mean()


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore:Using `torch.compile.module.` when there are global hooks")
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("kind", [Classifier, Marked])
def test_marks_of_classes_stay_exact(kind, bits):
    torch.manual_seed(0)
    model, x, labels = kind(), torch.randn(64, 32), torch.randint(CLASSES, (64,))
    model.compile(backend="aot_eager", fullgraph=True)

    def noise(rounds=6):
        def gradient(context):
            model.zero_grad()
            with context:
                loss = model(x, labels)
            loss.backward()
            return model.last.bias.grad.clone()

        exact = gradient(nullcontext())
        c = gact.Compressor(model, bits=bits, adaptive=False, min_bytes=0)
        found = torch.stack([gradient(c) for _ in range(rounds)])
        one, mean = ((each - exact).square().sum(-1) / exact.square().sum() for each in (found, found.mean(0)))
        return float(one.mean()), float(mean), c.report()

    ours, mean, report = noise()
    assert ours < 0.01 * 4.0**-bits
    assert mean < 0.5 * ours + 1e-12  # what float32 rounds
    assert all(row.codec == "mask" for row in report.rows if row.op in ("scatter", "one_hot"))


def test_a_function_in_which_all_stays_exact_is_counted():
    forward = torch.compile(lambda x: torch.log_softmax(x, 1), backend="aot_eager", fullgraph=True)
    x = torch.randn(256, 256, requires_grad=True)
    c = gact.Compressor(nn.Linear(1, 1), bits=4)
    with c:
        loss = forward(x).square().sum()
    loss.backward()
    kept = [row for row in c.report().rows if row.codec == "keep"]
    assert sum(row.kept_bytes for row in kept) >= x.nbytes
