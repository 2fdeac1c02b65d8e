"""Channels that are coded in their own deviations: when, and what they gain."""

import pytest
import torch
from edge_cases import draw

from gact.codecs import forms
from gact.codecs.columns import by_columns
from gact.codecs.groups import Groups
from gact.codecs.transformed import Transformed

ROWS, WIDTH = 960, 384


def outliers(*lead, width=WIDTH):
    """Channels of one size, but for one in fifty that is fifty times as large, and some that lie far from zero."""
    scales, shifts = torch.ones(width), torch.zeros(width)
    scales[::50], shifts[7::60] = 50.0, 30.0
    return draw(*lead, width) * scales + shifts


def error(region, bits=4, plain=False):
    """Squared error of each channel against its variance, on average."""
    code = Groups(region, bits, 256, 5) if plain else forms.encode(region, bits, 256, 5)
    back = code.decode(tuple(region.shape), region.stride())
    flat, off = (each.reshape(-1, region.shape[-1]).double() for each in (region, back - region))
    return float((off.square().mean(0) / flat.var(0)).mean())


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_small_channels_no_longer_drown(bits):
    region = outliers(10, 96)
    assert isinstance(forms.encode(region, bits, 256, 5), Transformed)
    assert error(region, bits) < error(region, bits, plain=True) / 100


def test_channels_that_are_alike_have_the_plain_code():
    assert by_columns(draw(ROWS, WIDTH), 256) is None
    assert by_columns(torch.nn.functional.gelu(draw(ROWS, WIDTH)), 256) is None


def test_rows_that_differ_are_no_channels():
    assert by_columns(draw(ROWS, WIDTH) * draw(ROWS, 1).exp(), 256) is None


def test_rows_with_a_rhythm_do_not_mislead():
    """Every 48th row is the first of a sentence, and unlike the others."""
    region = draw(ROWS, WIDTH)
    region[::48] *= torch.logspace(-3, 0, WIDTH)
    assert error(region) < 1.5 * error(region, plain=True)


def test_heads_that_are_shorter_than_a_group_are_taken_together():
    region = outliers(10, 96).view(10, 96, 12, 32).transpose(1, 2)
    transform = by_columns(region, 256)
    assert transform is not None
    assert transform.nbytes == 8 * WIDTH
    back = forms.encode(region, 8, 256, 5).decode(tuple(region.shape), region.stride())
    assert (back - region).abs().max() < 0.02 * region.abs().max()


def test_small_and_short_regions_are_not_looked_at():
    assert by_columns(outliers(150), 256) is None
    assert by_columns(outliers(ROWS * 8, width=16)[:60], 256) is None
    assert by_columns(outliers(ROWS).double(), 256) is None


@pytest.mark.parametrize("width", [64, 96, 192])
def test_rows_that_are_shorter_than_a_group_are_looked_at_together(width):
    region = outliers(2 * ROWS, width=width)
    transform = by_columns(region, 256)
    assert transform is not None
    assert transform.nbytes == 8 * width
    assert error(region) < error(region, plain=True) / 20


def test_heads_of_a_few_rows_are_channels_of_their_own():
    """The innermost dimensions end where those around them would leave too few rows."""
    region = outliers(4, 160, width=192).view(4, 160, 3, 64).transpose(1, 2)
    transform = by_columns(region, 256)
    assert transform is not None
    assert transform.nbytes == 8 * 192


@pytest.mark.parametrize("spread", [0.4, 1.0])
def test_channels_that_differ_a_little_gain_a_little(spread):
    region = draw(ROWS, WIDTH) * (spread * draw(WIDTH)).exp()
    assert by_columns(region, 256) is not None
    assert (by_columns(region, 256, much=True) is None) == (spread < 1)
    assert error(region) < error(region, plain=True) / 1.5


@pytest.mark.parametrize("spoilt", [torch.inf, torch.nan])
def test_what_is_not_finite_is_left_to_the_plain_code(spoilt):
    region = outliers(ROWS)
    region[:, 3] = spoilt
    assert by_columns(region, 256) is None


def total(region, bits=4, plain=False):
    """Squared error of all against all, in float64."""
    code = Groups(region, bits, 256, 5) if plain else forms.encode(region, bits, 256, 5)
    off = code.decode(tuple(region.shape), region.stride()).double() - region.double()
    return float(off.square().sum() / region.double().square().sum())


@pytest.mark.parametrize("share", [0.1, 0.02, 0.005, 0.001])
def test_channels_that_are_mostly_zero_drown_nothing(share):
    """A few rows tell nothing of most of them: what comes elsewhere would set the step of the others."""
    region = draw(ROWS, WIDTH) * (torch.rand(ROWS, WIDTH, generator=torch.Generator().manual_seed(1)) < share)
    for each in (region, region.relu()):
        assert total(each) < 1.2 * total(each, plain=True)


@pytest.mark.parametrize("seed", range(4))
def test_heavy_tails_make_no_channels(seed):
    """Deviations of a few rows differ by chance there, so other rows tell what they help."""
    generator = torch.Generator().manual_seed(seed)
    region = torch.randn(ROWS, WIDTH, generator=generator)
    region /= torch.randn(ROWS, WIDTH, generator=generator).abs().clamp_min(1e-3)
    assert total(region) < 1.2 * total(region, plain=True)


@pytest.mark.parametrize("size", [1e2, 1e3, 1e4])
def test_a_value_that_was_not_seen_drowns_no_row(size):
    region = outliers(ROWS)
    region[777, 5] = region[778, 9] = size
    rows = torch.arange(ROWS) // 2 != 777 // 2
    rows[776:780] = False
    coded, plain = (
        code.decode((ROWS, WIDTH), (WIDTH, 1)) for code in (forms.encode(region, 4, 256, 5), Groups(region, 4, 256, 5))
    )
    errors = [float((each - region)[rows].square().sum()) for each in (coded, plain)]
    assert errors[0] < 1.1 * errors[1]
    assert total(region) < 3 * total(region, plain=True)
