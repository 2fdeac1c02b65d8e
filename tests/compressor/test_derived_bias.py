"""What is rebuilt from narrow codes is right on average, though the function that is run again bends."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gact
from gact.operators import norms
from gact.remat.curvature import every_of
from gact.remat.derived import Derived
from gact.remat.rules import making
from saved import activation, held, save

SIZE = (24, 16, 13, 17)  # neither rows nor groups divide the whole
SEEDS = 64
# What the fourth order leaves of the second: in proportion to the square of a step, which at 2 bits is two deviations
# of a normal variable.
LEFT = {1: 0.6, 2: 0.35, 3: 0.08, 4: 0.03, 5: 0.03}


def packed(output):
    """What is held for the tensor that ``save`` saved, and its layout."""
    found = output.grad_fn._raw_saved_tensors[0].data.result
    return found.held, found.layout


ALIVE = []


def keep(*sources):
    """Has nodes save tensors, so that codes of them are there, in a graph that lives until the next context."""
    ALIVE[:] = [save(source) for source in sources] if torch.is_grad_enabled() else []


def rounded(output, bits, seed=0, **options):
    """``save`` of an output made inside of a context."""
    with gact.Compressor(bits=bits, min_bytes=0, adaptive=False, seed=seed, **options):
        return save(output())


class Figures:
    """What comes back over seeds beside what is exact, and what would come back if bends were left alone."""

    def __init__(self, output, exact, bits, seeds=SEEDS, **options):
        values, plain = [], []
        for seed in range(seeds):
            saved = rounded(output, bits, seed, **options)
            by, layout = packed(saved)
            assert isinstance(by, Derived)
            assert held(saved)[0].stride() == exact.stride()
            values.append(held(saved)[0].detach().double())
            plain.append(by.moved(None, 0.0).decode(layout).double())
        self.error, self.noise = self._of(values, exact.detach().double())
        self.plain, _ = self._of(plain, exact.detach().double())
        totals = torch.stack([value.sum() for value in values])
        self.total_noise = float(totals.std() / seeds**0.5)
        self.variances = torch.stack(values).var(0).mean(), torch.stack(plain).var(0).mean()

    @staticmethod
    def _of(values, exact):
        values = torch.stack(values)
        return values.mean(0) - exact, values.var(0) / len(values)

    def check(self, bits, total=True):
        """The mean is exact up to its standard error, element by element and on the whole; plain it is not."""
        left = LEFT[bits] * self.plain
        # Of so many elements the sum of squares is known to a hundredth.
        assert self.error.square().sum() <= 1.04 * self.noise.sum() + left.square().sum()
        if total:
            assert self.error.sum().abs() <= 4 * self.total_noise + left.sum().abs()
            assert self.plain.sum().abs() > 4 * self.total_noise + left.sum().abs()


def of_saved(op, pre=lambda x: x):
    """The op of what a node has saved before."""

    def run(x):
        x = pre(x)
        keep(x)
        return op(x)

    return run


CURVES = {
    "gelu": F.gelu,
    "gelu by tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "silu with all arguments": lambda x: F.silu(x, False),
    "mish": F.mish,
    "elu": F.elu,
    "celu": lambda x: F.celu(x, 1.5),
    "softplus": F.softplus,
    "square": lambda x: x * x,
    "gelu of gelu": lambda x: F.gelu(F.gelu(x)),
    "gate of itself": lambda x: x * F.gelu(x),
    "gelu of a line": lambda x: F.gelu(1.5 * x - 0.5),
    "curves joined": lambda x: torch.cat([F.gelu(x), F.silu(x)], 1),
    "curve plus its source": lambda x: F.gelu(x) + x,
    "masked curve": lambda x: F.gelu(x).mul(3.0),
}


def checked(op, x, bits, exact=None, total=True, **options):
    with torch.no_grad():
        exact = op(x) if exact is None else exact
    figures = Figures(lambda: op(x), exact, bits, **options)
    figures.check(bits, total)
    return figures


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("op", CURVES.values(), ids=CURVES)
def test_a_curve_is_right_on_average(op, bits):
    torch.manual_seed(0)
    checked(of_saved(op), activation(torch.randn(SIZE)), bits)


@pytest.mark.parametrize("bits", [1, 5])
def test_the_narrowest_and_the_widest_codes_that_are_corrected(bits):
    torch.manual_seed(0)
    checked(of_saved(F.gelu), activation(torch.randn(SIZE)), bits, total=bits > 1, seeds=128 if bits > 1 else SEEDS)


def test_the_correction_adds_little_noise():
    torch.manual_seed(0)
    for bits, most in ((3, 1.08), (4, 1.05), (5, 1.05)):
        figures = checked(of_saved(F.gelu), activation(torch.randn(SIZE)), bits, total=False)
        corrected, plain = figures.variances
        assert corrected <= most * plain


def test_from_6_bits_on_the_bias_is_far_below_the_noise_and_nothing_is_taken_away():
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE))
    figures = Figures(lambda: of_saved(F.gelu)(x), F.gelu(x).detach(), 6)
    assert torch.equal(figures.error, figures.plain)
    noise = figures.noise.sum() * SEEDS
    assert (figures.error.square() - figures.noise).sum() < 5e-4 * noise


def normed(module):
    for parameter in module.parameters():
        nn.init.uniform_(parameter, 0.5, 1.5)
    return module


CHAINS = {
    "gelu of a layer norm": (F.gelu, lambda: normed(nn.LayerNorm(17)), {}),
    "gelu of a layer norm, wide": (F.gelu, lambda: normed(nn.LayerNorm((13, 17))), {"group_size": 64}),
    "silu of a batch norm": (F.silu, lambda: normed(nn.BatchNorm2d(16)), {}),
    "mish of a group norm": (F.mish, lambda: normed(nn.GroupNorm(4, 16)), {}),
    "gelu of a scaled batch norm": (lambda x: F.gelu(x * 0.5), lambda: nn.BatchNorm2d(16), {}),
}


@pytest.fixture
def _few_elements_get_the_width_too(monkeypatch):
    monkeypatch.setattr(norms, "FEW", 0)


@pytest.mark.usefixtures("_few_elements_get_the_width_too")
@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize(("op", "make", "options"), CHAINS.values(), ids=CHAINS)
def test_a_curve_of_a_norm_is_right_on_average(op, make, options, bits):
    torch.manual_seed(0)
    norm = make()
    x = activation(torch.randn(SIZE) * torch.linspace(0.5, 2, 16)[:, None, None] + 1)
    checked(lambda x: op(norm(x)), x, bits, **options)


@pytest.mark.usefixtures("_few_elements_get_the_width_too")
def test_tiles_are_put_together_right(monkeypatch):
    monkeypatch.setattr("gact.remat.curvature._PARTS", 1)
    monkeypatch.setattr("gact.remat.curvature.at_once", lambda region: 2**13)
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE) * torch.linspace(0.5, 2, 16)[:, None, None] + 1)
    for norm in (nn.BatchNorm2d(16), nn.LayerNorm((13, 17)), nn.LayerNorm(17), nn.Identity()):
        normed(norm)
        checked(lambda x, norm=norm: of_saved(F.silu)(norm(x)), x, 4, group_size=32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_dtypes(dtype):
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE).to(dtype))
    exact = F.silu(x.detach().double())
    checked(of_saved(F.silu), x, 3, exact)


def test_under_autocast():
    torch.manual_seed(0)
    x = activation(torch.randn(512, 96))
    norm = nn.LayerNorm(64)
    layer = nn.Linear(96, 64).requires_grad_()

    def run(x):
        with torch.autocast("cpu", torch.bfloat16):
            return F.gelu(norm(layer(x)))

    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        exact = F.gelu(norm(layer(x)).double())
    checked(run, x, 3, exact)


def test_layouts():
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE).to(memory_format=torch.channels_last))
    checked(of_saved(F.gelu), x, 3)
    norm = normed(nn.BatchNorm2d(16))
    checked(lambda x: F.silu(norm(x)), x, 3)
    checked(lambda x: of_saved(F.gelu)(x).transpose(1, 2), x, 3)


SOURCES = {
    "gelu of a sum": lambda x, y: F.gelu(x + y),
    "gate": lambda x, y: F.silu(x) * y,
    "curve of a gate": lambda x, y: F.gelu(F.silu(x) * y),
    "sum of curves": lambda x, y: F.gelu(x) + F.silu(y),
}


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("op", SOURCES.values(), ids=SOURCES)
def test_curves_of_two_sources(op, bits):
    torch.manual_seed(0)
    x, y = (activation(torch.randn(SIZE) + 0.5) for _ in range(2))

    def run(x):
        keep(x, y)
        return op(x, y)

    checked(run, x, bits)


LINEAR = {
    "relu": F.relu,
    "dropout": lambda x: F.dropout(x, 0.3),
    "scaled": lambda x: x * 0.7,
    "joined": lambda x: torch.cat([x, x.neg()], 1),
    "sum": lambda x: x + 0.5 * x,
    "batch norm": lambda x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("op", LINEAR.values(), ids=LINEAR)
def test_what_is_linear_is_right_as_it_is(op):
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE))
    results = []

    def run():
        torch.manual_seed(1)
        results[:] = [of_saved(op)(x)]
        return results[0]

    values = torch.stack([held(rounded(run, 3, seed))[0].detach().double() for seed in range(SEEDS)])
    error = values.mean(0) - results[0].detach()
    assert error.square().sum() <= 1.04 * values.var(0).sum() / SEEDS
    assert error.sum().abs() <= 4 * values.flatten(1).sum(1).std() / SEEDS**0.5


SIDES = {
    "leaky relu": F.leaky_relu,
    "relu6": lambda x: F.relu6(x * 2.5),
    "relu6 in place": lambda x: F.relu6(x * 2.5, inplace=True),
    "hardtanh from zero": lambda x: F.hardtanh(x, 0.0, 2.5),
}


@pytest.mark.parametrize("op", SIDES.values(), ids=SIDES)
def test_a_kink_whose_side_is_held_is_rebuilt_from_narrow_codes(op):
    """Sides and bounds are exact, and on each side the op is linear."""
    torch.manual_seed(0)
    x = activation(torch.randn(64, 64))
    results = []

    def run():
        torch.manual_seed(1)
        results[:] = [of_saved(op)(x)]
        return results[0]

    assert isinstance(packed(rounded(run, 3))[0], Derived)
    values = torch.stack([held(rounded(run, 3, seed))[0].detach().double() for seed in range(SEEDS)])
    exact = results[0].detach()
    error = values.mean(0) - exact
    assert error.square().sum() <= 1.04 * values.var(0).sum() / SEEDS
    if op is not F.leaky_relu:
        bounds = (exact == exact.amax()) | (exact == 0)
        assert torch.equal(values[0][bounds], exact[bounds].double())
        assert not torch.equal(values[0], exact.double())


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate"])
def test_what_is_padded_is_rebuilt(mode):
    torch.manual_seed(0)
    x = activation(torch.randn(2, 3, 32, 32))

    def run():
        keep(x)
        return F.pad(x * 1, (1, 2, 0, 3), mode=mode)

    output = rounded(run, 4)
    assert isinstance(packed(output)[0], Derived)
    (value,) = held(output)
    assert value.shape == (2, 3, 35, 35)
    assert torch.equal(value, F.pad(value[:, :, :32, 1:33], (1, 2, 0, 3), mode=mode))


def test_a_bound_that_most_elements_reach_is_not_rebuilt():
    torch.manual_seed(0)
    x = activation(torch.randn(64, 64))
    assert not isinstance(packed(rounded(lambda: of_saved(lambda x: F.hardtanh(x, 0.0, 0.1))(x), 3))[0], Derived)


KINKS = {
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "curve of a sum with its transpose": lambda x: F.gelu(x + x.transpose(0, 1)),
    "product with its transpose": lambda x: x * x.transpose(0, 1),
}


@pytest.mark.parametrize("op", KINKS.values(), ids=KINKS)
def test_what_cannot_be_corrected_is_not_rebuilt_from_narrow_codes(op):
    torch.manual_seed(0)
    x = activation(torch.randn(64, 64))
    for bits, is_rebuilt in ((5, False), (6, True)):
        assert isinstance(packed(rounded(lambda: of_saved(op)(x), bits))[0], Derived) is is_rebuilt


@pytest.mark.parametrize(
    ("op", "arguments", "kind"),
    [
        (F.elu, (), "curve"), (F.elu, (2.0,), "kink"), (F.celu, (1.5,), "curve"), (F.celu, (0.5,), "kink"),
        (F.softplus, (), "curve"), (F.softplus, (20.0,), "kink"), (F.selu, (), "kink"), (F.hardswish, (), "kink"),
        (torch.sigmoid, (), "curve"), (torch.mul, (2.0,), "product"), (torch.add, (2.0,), "linear"),
    ],
)  # fmt: skip
def test_how_sharply_an_op_bends(op, arguments, kind):
    found = making(op, (torch.ones(3), *arguments), {})
    assert found.rebuild.kind == kind


def test_curves_of_many_codes_are_not_rebuilt_from_narrow_ones():
    torch.manual_seed(0)
    sources = [activation(torch.randn(64, 64)) for _ in range(3)]

    def run():
        keep(*sources)
        return F.gelu(sources[0] + sources[1] + sources[2])

    for bits, is_rebuilt in ((4, False), (8, True)):
        assert isinstance(packed(rounded(run, bits))[0], Derived) is is_rebuilt


def test_groups_on_levels_come_back_as_the_curve_of_what_was_saved():
    x = activation(torch.randint(0, 4, (64, 256)).float())
    saved = rounded(lambda: of_saved(F.gelu)(x), 2)
    assert torch.allclose(held(saved)[0], F.gelu(x), atol=1e-6)


def test_what_comes_back_is_the_same_every_time():
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE))
    saved = rounded(lambda: of_saved(F.gelu)(x), 4)
    assert torch.equal(held(saved)[0], held(saved)[0])


def test_codes_on_disk_give_the_same(tmp_path):
    torch.manual_seed(0)
    x = activation(torch.randn(SIZE))
    run = of_saved(F.gelu)
    expected = held(rounded(lambda: run(x), 4))[0]
    assert torch.equal(held(rounded(lambda: run(x), 4, offload=f"disk:{tmp_path}"))[0], expected)


@pytest.mark.parametrize("numel", [6291456, 85008, 7 * 2**12, 3 * 5 * 7 * 11 * 13 * 256, 256])
def test_the_groups_that_are_corrected_lie_elsewhere_in_every_row(numel):
    for bits in range(1, 9):
        every = every_of(bits, numel, 256)
        assert every == 1 or all(length % every for length in range(2, 200) if numel % length == 0)


def test_half_precision_stays_finite():
    x = activation((torch.rand(16, 256) * 65000).half())
    found = held(rounded(lambda: of_saved(F.silu)(x), 3))[0]
    assert found.isfinite().all()
