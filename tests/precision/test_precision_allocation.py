"""The allocation against SciPy's mixed-integer solver, which finds the true optimum of small tables."""

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp

from gact.precision.allocation import allocate

WIDTHS = torch.arange(1, 9)


def optimum(noise, nbytes, budget):
    """Least sum of noise within the budget; None if nothing fits."""
    sites, options = noise.shape
    allowed = np.isfinite(noise.numpy()).ravel()
    one_each = np.kron(np.eye(sites), np.ones(options))
    limits = [
        LinearConstraint(one_each, 1, 1),
        LinearConstraint(nbytes.double().numpy().ravel()[None], -np.inf, budget),
    ]
    scale = noise[noise.isfinite()].max().item() or 1.0
    cost = np.where(allowed, noise.numpy().ravel() / scale, 0.0)
    solved = milp(
        cost,
        constraints=limits,
        integrality=np.ones(noise.numel()),
        bounds=Bounds(0, allowed),
        options={"mip_rel_gap": 0},
    )
    return solved.fun * scale if solved.success else None


def convex(random, sites):
    """Noise that halves with every bit, of sites that differ by orders of magnitude."""
    return 10 ** random.uniform(-3, 0, (sites, 1)) * 2.0 ** -WIDTHS.numpy()


def rough(random, sites):
    """Noise that need not fall with the width."""
    return random.uniform(0, 1, (sites, 8))


def ties(random, sites):
    """Points on lines, equal sites, in tenths that floating point cannot hold."""
    return random.integers(0, 3, (sites, 1)) * 0.1 * np.arange(8, 0, -1)


def falling(random, sites):
    """Monotone, but not convex."""
    return np.sort(random.uniform(0, 1, (sites, 8)), axis=1)[:, ::-1]


def sparse(random, sites):
    """Forbidden options, never all of a site's."""
    noise = convex(random, sites)
    noise[random.uniform(size=noise.shape) < 0.5] = np.inf
    noise[:, -1] = 0.0
    return noise


TABLES = [convex, rough, ties, falling, sparse]


def table(make, seed, sites):
    random = np.random.default_rng(seed)
    noise = torch.from_numpy(make(random, sites).copy())
    numel = torch.from_numpy(random.integers(1, 500, sites))
    return noise, numel[:, None] * WIDTHS * 4


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
@pytest.mark.parametrize("sites", [1, 2, 9, 30])
def test_the_choice_is_optimal_within_the_stated_gap(make, sites):
    for seed in range(6):
        noise, nbytes = table(make, seed, sites)
        first = nbytes.gather(1, noise.isfinite().int().argmax(1)[:, None]).sum()
        for share in (0.0, 0.1, 0.37, 0.7, 1.0):
            budget = int(first + share * (nbytes[:, -1].sum() - first))
            found = allocate(noise, nbytes, budget)
            least = optimum(noise, nbytes, budget)
            assert found.nbytes <= budget
            slack = 3e-6 * float(noise[noise.isfinite()].max())  # of the solver
            assert found.bound <= least + slack
            assert least <= found.noise + slack
            assert found.gap == float("inf") or found.noise <= (least + slack) * (1 + found.gap)
            assert found.noise == float(noise.gather(1, found.choice[:, None]).sum())
            assert found.nbytes == int(nbytes.gather(1, found.choice[:, None]).sum())


def test_the_gap_is_small_where_sites_are_many():
    noise, nbytes = table(convex, 0, 300)
    found = allocate(noise, nbytes, int(nbytes[:, 3].sum()))
    assert found.gap < 1e-3


def test_a_budget_below_the_cheapest_takes_the_cheapest_allowed():
    noise, nbytes = table(sparse, 3, 12)
    found = allocate(noise, nbytes, 1)
    assert torch.equal(found.choice, noise.isfinite().int().argmax(1))
    assert found.nbytes > 1


@pytest.mark.parametrize("budget", [-5, 0, 10**3, 10**4, 10**9])
def test_forbidden_options_are_never_chosen(budget):
    noise, nbytes = table(sparse, 1, 40)
    assert noise.gather(1, allocate(noise, nbytes, budget).choice[:, None]).isfinite().all()


def test_with_bytes_for_everything_nothing_is_spent_in_vain():
    noise = torch.tensor([[3.0, 1.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    found = allocate(noise, torch.tensor([[1, 2, 3]] * 2), 100)
    assert found.choice.tolist() == [1, 0]
    assert (found.noise, found.nbytes, found.gap) == (1.0, 3, 0.0)


def test_no_sites_cost_nothing():
    found = allocate(torch.zeros(0, 8, dtype=torch.float64), torch.zeros(0, 8, dtype=torch.int64), 10)
    assert (len(found.choice), found.noise, found.nbytes, found.gap) == (0, 0.0, 0, 0.0)


def test_points_on_a_line_do_not_break_the_budget():
    # 0.3 - 0.2 is less than 0.2 - 0.1 in floating point, so a later step looks steeper than the one before it.
    noise = torch.tensor([[0.3, 0.2, 0.1, 0.0]] * 7, dtype=torch.float64)
    nbytes = torch.tensor([[1, 2, 3, 4]] * 7)
    for budget in range(7, 29):
        found = allocate(noise, nbytes, budget)
        assert found.nbytes == budget
        assert found.noise == pytest.approx(2.8 - 0.1 * budget, abs=1e-9)


def test_ten_thousand_sites():
    noise, nbytes = table(convex, 0, 10_000)
    budget = int(nbytes[:, 3].sum())
    found = allocate(noise, nbytes, budget)
    assert found.nbytes <= budget
    assert found.gap < 1e-4


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.float64)


BYTES = torch.tensor([[1, 2]])
BROKEN = {
    "shapes": (zeros(1, 3), BYTES, r"the same shape \[sites, options\], got \[1, 3\] and \[1, 2\]"),
    "one dimension": (zeros(2), torch.tensor([1, 2]), r"the same shape \[sites, options\], got \[2\]"),
    "negative": (torch.tensor([[-1.0, 0.0]]), BYTES, "noise must not be negative or NaN"),
    "nan": (torch.tensor([[0.0, float("nan")]]), BYTES, "noise must not be negative or NaN"),
    "nothing allowed": (torch.full((1, 2), torch.inf), BYTES, "every site needs an option of finite noise"),
    "equal bytes": (zeros(1, 2), torch.tensor([[2, 2]]), "nbytes must grow along the options of every site"),
}


@pytest.mark.parametrize(("noise", "nbytes", "message"), BROKEN.values(), ids=BROKEN)
def test_tables_that_make_no_sense_are_refused(noise, nbytes, message):
    with pytest.raises(ValueError, match=message):
        allocate(noise, nbytes, 10)
