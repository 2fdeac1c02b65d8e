"""Transformed codes as part of one pass over codes: the same as one step after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from edge_cases import channels_last, draw, images, node_of, quiet_rows
from torch import nn

from gact.codecs import forms
from gact.codecs.chunks import flat_of
from gact.codecs.layout import Layout
from gact.codecs.lines import NORMS
from gact.codecs.masks import Mask, MaskTest
from gact.packing.offload import OffloadedCode
from gact.precision.fine import Fine
from gact.saved.encoded import Encoded
from gact.store import open_store


def held(x, form, offloaded=False):
    code = forms.encode(x, 4, 256, 3, form)
    return Encoded(OffloadedCode(code, open_store("cpu")) if offloaded else code)


def layout_of(x):
    return Layout(x.size(), x.stride(), x.size())


def normed(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def lines_of(kind, x, module, node, groups=()):
    rest = [module.weight.detach(), module.bias.detach()]
    statistics = [node._saved_result1.detach(), node._saved_result2.detach()]
    return NORMS[kind].lines(*groups, x.size(), x.stride(), *rest, *statistics)


NORMALISED = {
    "layer_norm": (lambda: quiet_rows(5, 8, 192), lambda: nn.LayerNorm(192), "NativeLayerNormBackward0", ()),
    "batch_norm": (images, lambda: nn.BatchNorm2d(12), "NativeBatchNormBackward0", ()),
    "batch_norm, channels last": (
        lambda: channels_last(images()),
        lambda: nn.BatchNorm2d(12),
        "NativeBatchNormBackward0",
        (),
    ),
    "group_norm": (images, lambda: nn.GroupNorm(3, 12), "NativeGroupNormBackward0", (3,)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("offloaded", [False, True])
@pytest.mark.parametrize("has_form", [False, True])
@pytest.mark.parametrize("name", NORMALISED)
def test_a_norm_of_what_was_transformed(name, has_form, offloaded, dtype):
    make, module, node, groups = NORMALISED[name]
    x, module = make(), normed(module())
    output = module(x.requires_grad_())
    node = node_of(output, node)
    x = x.detach().to(dtype)
    source = held(x, forms.normalised_by(node) if has_form else None, offloaded)
    lines = lines_of(name.partition(",")[0], x, module, node, groups)
    found = source.one_pass(x.size(), x.stride())
    if not has_form and source.code.line is None:
        pytest.skip("rows need no scaling")
    found = found.under(lines)
    assert found is not None
    fast = found.run(x.size(), x.stride(), dtype)
    slow = flat_of(source.decode(layout_of(x))).float()
    for line, inner in lines:
        channel = torch.arange(len(slow)) // inner % line.shape[1]
        slow = slow * line[0][channel] + line[1][channel]
    bound = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.1}[dtype]
    assert (flat_of(fast).float() - slow).abs().max() <= bound * slow.abs().max()
    assert fast.stride() == x.stride()


def test_rows_and_a_layer_norm_take_two_lines():
    x = quiet_rows(40, 192)
    module = normed(nn.LayerNorm(192))
    node = node_of(module(x.requires_grad_()), "NativeLayerNormBackward0")
    lines = lines_of("layer_norm", x, module, node)
    assert len(lines) == 2
    source = held(x.detach(), None)
    assert source.code.transform.name == "rows"
    found = source.one_pass(x.size(), x.stride()).under(lines)
    # By the statistics of the values as they were, as when the norm is rebuilt.
    mean, rstd = node._saved_result1, node._saved_result2
    expected = (source.decode(layout_of(x)) - mean) * rstd * module.weight + module.bias
    torch.testing.assert_close(found.run(x.size(), x.stride(), torch.float32), expected.detach(), atol=2e-5, rtol=1e-5)


def test_lines_of_other_channels_are_too_many():
    x = quiet_rows(40, 192)
    source = held(x, None)
    line = torch.ones(2, 8)
    found = source.one_pass(x.size(), x.stride())
    assert found.under([(line, 3)]) is not None
    assert found.under([(line, 3), (line, 5)]) is None
    assert found.under([(line, 3)]).under([(line, 3)]) is not None


def test_sums_and_masks_of_what_was_transformed():
    x, y = quiet_rows(40, 192), draw(40, 192, seed=2)
    first, second = held(x, None), held(y, None)
    mask = Encoded(Mask(y, MaskTest()))

    class Source:
        dtype, is_fresh = torch.float32, True

        def value(self):
            return second.decode(layout_of(y))

        def one_pass(self, size, stride):
            return second.one_pass(size, stride)

    class Factor:
        def erasing(self):
            return mask.code

        def mask_(self, x):
            mask.mask_(x, layout_of(y))

    found = first.one_pass(x.size(), x.stride()).onto(Source()).masked(Factor())
    expected = (first.decode(layout_of(x)) + second.decode(layout_of(y))) * (y > 0)
    assert torch.equal(found.run(x.size(), x.stride(), torch.float32), expected)


def test_what_is_no_line_takes_part_in_no_pass():
    images_last = channels_last(images())
    node = node_of(nn.GroupNorm(3, 12)(images_last.requires_grad_()), "NativeGroupNormBackward0")
    group_norm = held(images_last.detach(), forms.normalised_by(node))
    assert group_norm.code.transform.name == "normalised"
    angles = held(draw(40, 192), forms.slope("sine"))
    classes = held(F.log_softmax(draw(40, 192), 1), forms.log_probabilities(1), offloaded=True)
    for source in (group_norm, angles, classes):
        assert source.one_pass(torch.Size((40, 192)), (192, 1)) is None
    assert held(quiet_rows(40, 192).double(), None).one_pass(torch.Size((40, 192)), (192, 1)) is None


@pytest.mark.parametrize("offloaded", [False, True])
def test_measured_codes_are_rounded_in_the_same_form(offloaded):
    x = quiet_rows(40, 192)
    code = forms.encode(x, 6, 256, 3)
    fine = Fine(code, 4)
    if offloaded:
        fine.code = OffloadedCode(code, open_store("cpu"))
    plain = fine.decode(layout_of(x))
    assert fine.one_pass(x.size(), x.stride()) is not None
    fine.noise = (4, 17)
    rounded = fine.decode(layout_of(x))
    assert fine.one_pass(x.size(), x.stride()) is None
    scale = plain.abs().amax(1)
    assert not rounded[1].any()
    assert ((rounded - plain).abs().amax(1) <= 0.2 * scale).all()
    assert ((rounded - plain).abs().amax(1)[scale > 0] >= 0.01 * scale[scale > 0]).all()
    fine.noise = None
    assert torch.equal(fine.decode(layout_of(x)), plain)
