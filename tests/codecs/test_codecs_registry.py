"""Codes that users register."""

import pytest
import torch

import gact
from gact.codecs import CODECS, forms
from gact.codecs.transformed import Transformed
from gact.codecs.transforms import RowScaled


class Mirrored(RowScaled):
    """Rows scaled, whose exponents have a name of their own."""

    __slots__ = ("mirror",)
    parts = ("mirror",)

    def __init__(self, region):
        super().__init__(region, region.shape[0])
        self.mirror = self.exponents


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr("gact.codecs.registry.CODECS", dict(CODECS))
    yield
    if "mirror" in vars(Transformed):
        delattr(Transformed, "mirror")


def test_the_last_that_was_registered_is_tried_first_and_replaced_by_its_name():
    x = torch.randn(8, 100)
    gact.register_codec("one", lambda region, group_size: RowScaled(region, 4))
    gact.register_codec("two", lambda region, group_size: RowScaled(region, 2))
    assert forms.encode(x, 4, 64, 0).transform.exponents.numel() == 2
    gact.register_codec("one", lambda region, group_size: None)
    assert forms.encode(x, 4, 64, 0).transform.exponents.numel() == 2
    gact.register_codec("two", lambda region, group_size: None)
    assert type(forms.encode(x, 4, 64, 0)) is not Transformed


def test_tensors_of_its_own_move_with_the_code():
    gact.register_codec("mirrored", lambda region, group_size: Mirrored(region), parts=("mirror",))
    layer, x = torch.nn.Linear(64, 8), torch.randn(4096, 64)
    with gact.Compressor(layer, bits=8, adaptive=False, offload="disk") as compressor:
        loss = layer(x * 1.0).sum()
    assert compressor.report().offloaded_bytes > 4096 * 64 + 4096
    loss.backward()
    assert torch.allclose(layer.weight.grad[0], x.sum(0), rtol=0.02, atol=1)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="got the name ''; it must be a word"):
        gact.register_codec("", lambda region, group_size: None)
    with pytest.raises(TypeError, match="got 3; the form must be a function of a region and a group size"):
        gact.register_codec("three", 3)
    with pytest.raises(ValueError, match="may not be called 'bits', as something that every code has"):
        gact.register_codec("bits", lambda region, group_size: None, parts=("bits",))


@pytest.mark.parametrize("made", [3, 0, RowScaled, torch.ones(2)])
def test_a_form_that_makes_no_transform_is_named(made):
    gact.register_codec("odd", lambda region, group_size: made)
    x, weight = torch.randn(64, 64, requires_grad=True), torch.randn(64, 8, requires_grad=True)
    named = pytest.raises(
        ValueError, match=r"register_codec\('odd'\) returned .*; it must return a gact.codecs.Transform"
    )
    with named, gact.Compressor(bits=4, adaptive=False, min_bytes=0):
        (x * 1.0) @ weight
