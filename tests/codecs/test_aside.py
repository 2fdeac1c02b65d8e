"""Elements of a code that are held exactly beside it."""

import copy

import pytest
import torch
from edge_cases import draw

from gact.codecs.bent import Bent
from gact.codecs.boxes import GROUP, Boxes
from gact.codecs.chunks import flat_of
from gact.codecs.columns import by_columns
from gact.codecs.groups import Groups
from gact.codecs.layout import Layout
from gact.codecs.transformed import Transformed
from gact.codecs.transforms import RowScaled
from gact.operators.need import Need
from gact.ops.boxes import Grid, extremes
from gact.remat.shifted import Shifted
from gact.saved.coarse import fit
from gact.saved.encoded import Encoded

ROWS, WIDTH = 513, 130
GRIDS = [Grid(ROWS, 1, WIDTH, 100, 1), Grid(27, 19, WIDTH, 10, 4)]


def columns(region):
    """Channels of very different size."""
    region[:, 3] *= 100.0
    return by_columns(region, 256)


def grid(number):
    return lambda region: Boxes(*extremes(flat_of(region), GRIDS[number]), GRIDS[number])


MAKES = {
    "plain": lambda _: None,
    "bent": lambda _: Bent("silu"),
    "rows": lambda region: RowScaled(region, ROWS),
    "columns": columns,
    "boxes": grid(0),
    "boxes of a plane": grid(1),
}
DTYPES = {name: [torch.float32, torch.float16, torch.bfloat16] for name in MAKES}
for name in ("plain", "bent", "rows"):
    DTYPES[name].append(torch.float64)


def coded(name, dtype, bits=4, row=1.0):
    region = draw(ROWS, WIDTH).to(dtype)
    region[200] *= row
    transform = MAKES[name](region)
    if transform is None:
        return region, Groups(region, bits, 256, 5)
    return region, Transformed(region, bits, GROUP if name.startswith("boxes") else 256, 5, transform)


def decoded(code, region):
    return flat_of(code.decode(tuple(region.shape), region.stride()))


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name in MAKES for dtype in DTYPES[name]])
def test_they_come_back_bit_for_bit_and_others_as_before(name, dtype):
    region, code = coded(name, dtype)
    flat, before, nbytes = flat_of(region), decoded(code, region), code.nbytes
    last = (ROWS * WIDTH - 1) // 256 if name in ("plain", "bent") else 5 * WIDTH + 129  # short, as boxes are at the end
    first, second = torch.tensor([1, last]), torch.tensor([0, 200])
    for units in (first, second):
        code.set_aside(region, units)
    places = torch.cat([code.elements_of(each, flat.numel()).flatten() for each in (first, second)])
    held = torch.zeros(flat.numel(), dtype=torch.bool)
    held[places] = True
    loaded = copy.copy(code)
    for part in code.parts:
        setattr(loaded, part, getattr(code, part).clone())
    rounded = flat_of(code.decode_rounded(tuple(region.shape), region.stride(), 2, 7))
    for found in (decoded(code, region), decoded(loaded, region), rounded):
        assert torch.equal(found[held], flat[held])
    assert torch.equal(decoded(code, region)[~held], before[~held])
    assert not code.one_pass
    assert code.nbytes - nbytes == places.numel() * region.element_size() + 4 * 4


@pytest.mark.parametrize("name", MAKES)
def test_nobody_takes_them_to_be_rounded(name):
    region, code = coded(name, torch.float32)
    units = torch.tensor([0, 3])
    code.set_aside(region, units)
    places = code.elements_of(units, region.numel()).flatten()
    moved = flat_of(Shifted(Encoded(code), 1.0).decode(Layout(region.size(), region.stride(), region.size())))
    assert torch.allclose(moved[places], flat_of(region)[places], rtol=1e-6, atol=1e-6)
    assert not torch.equal(moved, decoded(code, region))


@pytest.mark.parametrize(("name", "dtype"), [(name, dtype) for name in MAKES for dtype in DTYPES[name]])
@pytest.mark.parametrize("turn", [1e-3, 0.5, 1e3])
def test_a_look_at_steps_changes_no_code_of_others(name, dtype, turn):
    region, code = coded(name, dtype, row=30.0)
    before = decoded(code, region)
    fit(code, region, Need("value", turn=turn), code.bits)
    held = torch.zeros(region.numel(), dtype=torch.bool)
    if code.aside_units is not None:
        held[code.elements_of(code.aside_units, region.numel())] = True
    assert torch.equal(decoded(code, region)[~held], before[~held])


@pytest.mark.parametrize("numbers", [0, 1])
def test_elements_of_boxes(numbers):
    """Those that share bounds."""
    layout = GRIDS[numbers]
    box = layout.box_of(0, ROWS, torch.device("cpu"))
    units = torch.arange(ROWS * WIDTH).view(ROWS, WIDTH) % WIDTH + box[:, None] * WIDTH
    for unit in (0, 5, WIDTH + 7, layout.boxes * WIDTH - 1):
        found = layout.places(torch.tensor([unit])).unique()
        assert torch.equal(found, (units.flatten() == unit).nonzero()[:, 0])
