"""The fastest mix of techniques under a byte budget: an integer programme, checked by predictions.

NOTE: The programme
x[b, t] is 1 if block b is treated with technique t. In the window of the step in which block k runs (forward or
backward), the blocks up to k are held and k, if it runs again, has its plain activations in memory::

    min  sum x[b, t] seconds[b, t]    s.t.  sum_t x[b, t] = 1   and for each window
         base + sum_{b <= k, t} x[b, t] held[b, t] + sum_t x[k, t] extra[k, t] <= budget

Bases come from a plain run, so the programme is exact for plain training and close for others. What it says is
therefore predicted; if that is over the budget, the programme is solved again for a budget that is less by the excess,
and then for budgets between, until the greatest is found whose solution fits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec

from ..ops.checks import code_bytes, group_count
from .census import REST, Block, Census
from .costs import Costs
from .mix import Assignment, Mix

_GROUP = 256
_ROUNDS = 8
_SECONDS = 10.0
_TIE = 0.01
"""Share of a plain step's time that the noise of 4 bits everywhere is worth: it decides between equals."""


@dataclass(frozen=True, slots=True)
class Option:
    """A technique for one block and what it takes.

    Attributes:
        assignment: The technique.
        held: Bytes held between forward and backward.
        extra: Bytes in memory besides while the block runs in backward.
        seconds: Time it adds.
        noise: Its gradient noise, in units of quantized bytes times (2^bits - 1)^-2.
    """

    assignment: Assignment
    held: int
    extra: int
    seconds: float
    noise: float


def plain_seconds(census: Census, costs: Costs) -> float:
    """Time of a plain step: its products at the speed of products, the rest at that of memory."""
    return census.flops / costs.flops + census.moved / (2 * costs.copy)


def options_of(block: Block, widths: tuple[int, ...], costs: Costs) -> list[Option]:
    """What can be done with a block."""
    found = [Option(Assignment(block.name, "keep"), block.plain, 0, 0.0, 0.0)]
    for bits in widths:
        if block.kept[bits] >= block.plain:
            continue
        coding = block.values * (1 / costs.quantize[bits] + 1 / costs.dequantize[bits])
        noise = block.values / (2**bits - 1) ** 2
        found.append(Option(Assignment(block.name, "quantize", bits), block.kept[bits], 0, coding, noise))
        if costs.write and block.name != REST:
            moving = block.kept[bits] * (1 / costs.write + 1 / costs.read)
            found.append(Option(Assignment(block.name, "offload", bits), 0, 0, coding + moving, noise))
    if block.name == REST:
        return found
    again = block.flops / costs.flops + block.moved / (2 * costs.copy)
    found.append(Option(Assignment(block.name, "recompute"), block.boundary, block.plain, again, 0.0))
    for bits in widths:
        numel = block.boundary // 4
        held = code_bytes(numel, bits) + 4 * group_count(numel, _GROUP)
        coding = block.boundary * (1 / costs.quantize[bits] + 1 / costs.dequantize[bits])
        noise = block.boundary / (2**bits - 1) ** 2
        found.append(Option(Assignment(block.name, "recompute", bits), held, block.plain, again + coding, noise))
    return found


def seconds_of(mix: Mix, census: Census, costs: Costs) -> float:
    """Time that a mix adds to a plain step."""
    widths = tuple({each.bits for each in mix.assignments} - {0})
    blocks = {block.name: block for block in (*census.blocks, census.rest)}
    total = 0.0
    for each in mix.assignments:
        known = {option.assignment: option for option in options_of(blocks[each.module], widths, costs)}
        total += known[each].seconds if each in known else 0.0
    return total


def again_seconds(census: Census, costs: Costs, bits: int) -> float:
    """Time that it takes to compress what all blocks save when they run again."""
    values = sum(block.values for block in census.blocks)
    return values * (1 / costs.quantize[bits] + 1 / costs.dequantize[bits])


def fastest(census: Census, costs: Costs, budget: int, widths: tuple[int, ...]) -> Mix | None:
    """The solution of the programme for a budget; None if there is none.

    Raises:
        ImportError: If SciPy is missing.
    """
    if find_spec("scipy") is None:
        raise ImportError("a mix is solved with SciPy, which is missing: pip install scipy (gact's extra 'plan').")
    import numpy as np
    from scipy.optimize import Bounds, LinearConstraint, milp

    groups = [options_of(block, widths, costs) for block in (*census.blocks, census.rest)]
    flat = [(at, option) for at, group in enumerate(groups) for option in group]
    worth = _TIE * plain_seconds(census, costs) * 15**2 / max(sum(block.values for block in census.blocks), 1)
    cost = np.array([option.seconds + worth * option.noise for _, option in flat])
    one = np.array([[float(at == group) for at, _ in flat] for group in range(len(groups))])
    rest = len(groups) - 1
    scale = float(max(budget, 1))
    held = [
        [
            (option.held * (at < window.held or at == rest) + option.extra * (at == window.block)) / scale
            for at, option in flat
        ]
        for window in census.windows
    ]
    room = [(budget - window.base) / scale for window in census.windows]
    solved = milp(
        cost / max(cost.max(), 1e-30),
        constraints=[LinearConstraint(one, 1, 1), LinearConstraint(np.array(held), -np.inf, np.array(room))],
        integrality=np.ones(len(flat)),
        bounds=Bounds(0, 1),
        options={"time_limit": _SECONDS},
    )
    if solved.x is None:
        return None
    chosen = [option for (_, option), value in zip(flat, solved.x, strict=True) if value > 0.5]
    return Mix(tuple(option.assignment for option in chosen), sum(option.seconds for option in chosen))


def solve(
    census: Census, costs: Costs, budget: int, widths: tuple[int, ...], predict: Callable[[Mix], int]
) -> Mix | None:
    """The fastest mix that fits, as predicted; None if none is found.

    Args:
        census: What the step consists of.
        costs: Speeds.
        budget: Bytes.
        widths: Widths that codes may have.
        predict: Peak of a mix in bytes.
    """
    low, high, target = 0, budget, budget
    best: Mix | None = None
    for _ in range(_ROUNDS):
        mix = fastest(census, costs, target, widths)
        if mix is None:
            low = target  # too little for the programme, whose figures are not those of the predictions
        else:
            peak = predict(mix)
            if peak <= budget:
                low = target
                best = replace(mix, peak=peak) if best is None or mix.seconds < best.seconds else best
            else:
                high = target
                target -= peak - budget
        if target == budget or high - low <= budget // 200:
            break
        if not low < target < high:
            target = (low + high) // 2
    return best
