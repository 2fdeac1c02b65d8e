"""The loss of a factory: of model and batch, or of outputs and targets; and what is said where it does not fit."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact
from gact.planning.subject import loss_of

INPUTS, TARGETS = torch.randn(8, 4), torch.randint(0, 3, (8,))


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)

    def forward(self, x, scale):
        return scale * self.linear(x)


@pytest.mark.parametrize(
    "loss_fn",
    [
        nn.CrossEntropyLoss(),
        F.cross_entropy,
        functools.partial(F.cross_entropy, label_smoothing=0.0),
        lambda outputs, targets: F.cross_entropy(outputs, targets),
        lambda logits, y: F.cross_entropy(logits, y),
        lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]),
    ],
)
def test_a_loss_may_be_of_outputs_and_targets_or_of_model_and_batch(loss_fn):
    model = nn.Linear(4, 3)
    expected = F.cross_entropy(model(INPUTS), TARGETS)
    assert torch.equal(loss_of(model, (INPUTS, TARGETS), loss_fn), expected)
    assert gact.plan(model, (INPUTS, TARGETS), loss_fn, sizes=()).batch == 8


def test_the_inputs_of_a_pair_may_be_several():
    model, criterion = Two(), nn.CrossEntropyLoss()
    expected = criterion(model(INPUTS, 2.0), TARGETS)
    for inputs in ((INPUTS, 2.0), {"x": INPUTS, "scale": 2.0}):
        assert torch.equal(loss_of(model, (inputs, TARGETS), criterion), expected)


@pytest.mark.parametrize(
    ("model", "batch", "loss_fn", "words"),
    [
        (nn.Linear(4, 3), INPUTS, nn.CrossEntropyLoss(), r"needs a batch \(inputs, targets\), got one tensor"),
        (
            nn.Linear(4, 3),
            (INPUTS, TARGETS),
            None,
            r"the batch is a tuple of 2, and the model is Linear.forward\(input\)",
        ),
        (Two(), {"x": INPUTS}, None, r"a mapping of x, and the model is Two.forward\(x, scale\): missing a required"),
        (
            nn.Linear(4, 3),
            INPUTS,
            lambda model: 0,
            r"must take \(model, inputs\) or .*; it is loss_fn\(model\): too many",
        ),
    ],
)
def test_what_does_not_fit_is_told_from_what_needs_values(model, batch, loss_fn, words):
    for ask in (loss_of, functools.partial(gact.plan, sizes=())):
        with pytest.raises(ValueError, match=words) as failure:
            ask(model, batch, loss_fn)
        assert "without data" not in str(failure.value)


def test_a_type_error_inside_of_the_model_is_the_models():
    class Adds(nn.Linear):
        def forward(self, x):
            return super().forward(x) + "text"

    with pytest.raises(TypeError):
        loss_of(Adds(4, 3), INPUTS)
    with pytest.raises(ValueError, match="the step failed on tensors that have sizes and no data:") as failure:
        gact.plan(Adds(4, 3), INPUTS)
    assert 'super().forward(x) + "text"' in str(failure.value)


def test_what_needs_values_says_which_line_does():
    class Cuts(nn.Linear):
        def forward(self, x):
            return super().forward(x)[: int(x.long().sum().item())].sum()

    with pytest.raises(ValueError, match="the step cannot be run without data: DataDependent") as failure:
        gact.plan(Cuts(4, 3), INPUTS)
    assert "x.long().sum().item()" in str(failure.value)
    assert "fake_tensor.py" not in str(failure.value)
