"""Inputs of normalisations are normalised where groups reach over channels that differ, and plain otherwise."""

import pytest
import torch
import torch.nn.functional as F

from gact.codecs import forms, normalised
from gact.codecs.groups import Groups
from gact.codecs.transformed import Transformed


@pytest.fixture(autouse=True)
def threshold(monkeypatch):
    monkeypatch.setattr(normalised, "UNEVEN", 8.0)


def layer_norm(x):
    return F.layer_norm(x, x.shape[-1:])


def batch_norm(x):
    return F.batch_norm(x, None, None, training=True)


def code_of(x, op):
    node = op(x.clone().requires_grad_()).grad_fn
    return forms.encode(x, 4, 256, 0, forms.normalised_by(node))


@pytest.mark.parametrize(("op", "size"), [(layer_norm, (64, 192)), (batch_norm, (8, 64, 7, 7))])
def test_channels_of_much_the_same_range_have_plain_codes(op, size):
    x = torch.randn(*size)
    x[:, 0] *= 2
    assert type(code_of(x, op)) is Groups


@pytest.mark.parametrize("factor", [0.01, 100.0])
@pytest.mark.parametrize(("op", "size"), [(layer_norm, (64, 192)), (batch_norm, (8, 64, 7, 7))])
def test_one_channel_that_differs_is_enough(op, size, factor):
    x = torch.randn(*size)
    if op is layer_norm:
        x[5] *= factor
    else:
        x[:, 5] *= factor
    code = code_of(x, op)
    assert type(code) is Transformed
    assert code.transform.name == "normalised"


@pytest.mark.parametrize("width", [192, 256])
def test_a_mean_far_from_zero_is_taken_away_whatever_the_width(width):
    x = torch.randn(64, width)
    x[9] += 1000
    code = code_of(x, layer_norm)
    assert type(code) is Transformed
    back = code.decode(x.size(), x.stride())
    assert (back[9] - x[9]).abs().max() < 1  # bfloat16 minima alone would be 4 off


def test_rows_of_whole_groups_have_plain_codes_whatever_their_ranges():
    x = torch.randn(64, 256)
    x[5] *= 1e-4
    assert type(code_of(x, layer_norm)) is Groups
