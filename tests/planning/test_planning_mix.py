"""Mixes: they fit, they are as predicted, and no single technique at equal memory is faster."""

import functools
import itertools
from dataclasses import replace

import pytest
import torch
from benchmarks.planned import make
from test_planning_peaks import measured
from torch import nn

import gact
from gact.planning import Assignment, Costs, Mix, measure_costs, planner, predict, solve
from gact.planning.census import Block, Census, Window, owner_of, take_census
from gact.planning.predict import Predictor
from gact.planning.subject import Subject

COSTS = Costs({4: 2e9, 8: 3e9}, {4: 3e9, 8: 4e9}, 5e9, 2e10)
LOADED = Costs({4: 2e9, 8: 3e9}, {4: 3e9, 8: 4e9}, 5e9, 2e10, write=1e9, read=2e9)


class Stack(nn.Module):
    """Blocks whose activations are most of the memory."""

    def __init__(self, depth=4, width=64):
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)) for _ in range(depth)
        )

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x.square().mean()


@pytest.fixture
def stack():
    return Stack(), torch.randn(512, 64)


@functools.cache
def limits():
    """What the stack takes at least and plainly."""
    free = gact.plan(Stack(), torch.randn(512, 64), levels=("L0", "CB1", "L1"), costs=COSTS, sizes=())
    return min(each.peak_bytes for each in free.levels), free.level("L0").peak_bytes


def share(model, inputs, part, **options):
    """A plan of the stack for a part of what plain training takes beyond what it takes at least."""
    low, plain = limits()
    budget = int(low + part * (plain - low))
    return gact.plan(model, inputs, memory=budget, costs=options.pop("costs", COSTS), sizes=(), **options), budget


@pytest.mark.parametrize("part", [0.05, 0.3, 0.6, 0.9])
def test_a_mix_fits_and_no_single_technique_that_fits_is_faster(stack, part):
    plan, budget = share(*stack, part)
    assert plan.choice
    chosen = plan.level(plan.choice)
    assert chosen.peak_bytes <= budget
    for each in plan.levels:
        if each.fits and each.seconds is not None:
            assert chosen.seconds <= each.seconds + 1e-12, each.name


def test_a_mix_takes_what_was_predicted_when_it_is_applied(stack):
    model, inputs = stack
    plan, budget = share(model, inputs, 0.6)
    assert plan.choice == "mix"
    peak = measured(plan.apply(model), model, inputs) + plan.optimizer_bytes
    assert peak <= budget
    assert abs(peak - plan.mix.peak) <= 0.08 * peak


def test_more_memory_is_never_slower(stack):
    times = []
    for part in (0.05, 0.25, 0.5, 0.75, 0.95):
        plan, _ = share(*stack, part)
        times.append(plan.level(plan.choice).seconds)
    assert all(later <= before * 1.05 for before, later in itertools.pairwise(times))


def test_where_plain_training_fits_nothing_is_done(stack):
    model, inputs = stack
    plan = gact.plan(model, inputs, memory="1 GiB", costs=COSTS, sizes=())
    assert (plan.choice, plan.mix) == ("L0", None)
    assert "there is nothing to do" in str(plan)
    applied = plan.apply(model)
    assert applied.compressor is None
    assert applied.checkpointing is None
    with applied:
        loss = model(inputs)
    applied.backward(loss)
    assert model.blocks[0][0].weight.grad is not None


def test_nothing_is_chosen_without_memory_or_where_nothing_fits(stack):
    model, inputs = stack
    plan = gact.plan(model, inputs)
    assert plan.choice == ""
    with pytest.raises(ValueError, match="this plan has chosen nothing: no memory was given"):
        plan.apply(model)
    plan = gact.plan(model, inputs, memory=1000, costs=COSTS, sizes=())
    assert "nothing fits" in plan.note
    with pytest.raises(ValueError, match="this plan has 'L0', 'checkpointing'"):
        plan.level("L3")


def step(context, model, inputs):
    """One step with that context, and what it gave to the parameters."""
    model.zero_grad()
    with context:
        loss = model(inputs)
    context.backward(loss)
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_a_level_with_codes_elsewhere_is_applied(stack, tmp_path):
    model, inputs = stack
    stored = gact.plan(model, inputs, offload=str(tmp_path)).apply(model, "L2", min_bytes=0)
    expected = step(gact.plan(model, inputs).apply(model, "L1", min_bytes=0), model, inputs)
    assert f"offload='disk:{tmp_path}'" in repr(stored.compressor)
    assert all(map(torch.equal, step(stored, model, inputs), expected))
    assert stored.compressor.report().offloaded_bytes > 0
    assert "offload='disk'" in repr(gact.plan(model, inputs).apply(model, "L2").compressor)


def test_a_level_with_other_attention_switches_the_model():
    model, inputs, _ = make("gpt2", tiny=True)
    context = gact.plan(model, inputs).apply(model, "CB2")
    assert model.config._attn_implementation == "sdpa"
    with context:
        loss = model(**inputs).loss
    context.backward(loss)
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_offloading_is_in_the_mix_where_codes_alone_are_too_large(stack):
    model, inputs = stack
    census = take_census(Predictor(Subject(model, inputs)), (4, 8))
    low, high = 0, sum(block.plain for block in census.blocks) + max(window.base for window in census.windows) + 2**20
    while high - low > 1000:
        middle = (low + high) // 2
        low, high = (low, middle) if solve.fastest(census, COSTS, middle, (4, 8)) else (middle, high)
    found = solve.fastest(census, LOADED, low, (4, 8))
    assert found is not None
    assert found.offloaded


def test_a_mix_moves_the_codes_of_the_blocks_that_it_names(stack, tmp_path):
    model, inputs = stack
    mix = Mix(
        (
            Assignment("blocks.0", "offload", 8),
            Assignment("blocks.1", "offload", 4),
            Assignment("blocks.2", "recompute", 4),
            Assignment("blocks.3", "quantize", 4),
            Assignment("", "keep"),
        ),
        0.0,
    )
    plan = replace(gact.plan(model, inputs), choice="mix", mix=mix, offload=str(tmp_path))
    context = plan.apply(model, min_bytes=0)
    step(context, model, inputs)
    rows = context.compressor.report().rows
    moved = {row.module.split(".")[1] for row in rows if row.offloaded_bytes}
    assert moved == {"0", "1"}
    assert {row.bits for row in rows if row.offloaded_bytes and row.codec == "groups"} == {4, 8}
    assert any(row.kept_bytes and row.codec == "groups" for row in rows if row.module.startswith("blocks.3"))
    assert {row.op for row in rows if row.module == "blocks.2"} == {"checkpoint"}


def test_a_plan_with_a_directory_chooses_and_applies_offloading(stack, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "QUEUE_BYTES", 0)  # these codes are smaller
    model, inputs = stack
    loaded = Costs({4: 2e9, 8: 3e9}, {4: 3e9, 8: 4e9}, 5e9, 2e8, write=1e9, read=2e9)
    free = gact.plan(model, inputs, levels=("L0", "L1"))
    budget = free.level("L1").peak_bytes - 2**15
    plan = gact.plan(model, inputs, memory=budget, costs=loaded, sizes=(), offload=str(tmp_path))
    assert plan.choice in ("L2", "mix")
    context = plan.apply(model)
    step(context, model, inputs)
    assert context.compressor.report().offloaded_bytes > 0
    assert not list(tmp_path.iterdir())


def exhaustive(census, costs, budget, widths):
    """The fastest assignment by trying all."""
    groups = [solve.options_of(block, widths, costs) for block in (*census.blocks, census.rest)]
    best = float("inf")
    for options in itertools.product(*groups):
        *blocks, rest = options
        if all(
            window.base
            + rest.held
            + sum(option.held for option in blocks[: window.held])
            + (blocks[window.block].extra if window.block is not None else 0)
            <= budget
            for window in census.windows
        ):
            best = min(best, sum(option.seconds for option in options))
    return best


@pytest.mark.parametrize("budget", [900, 1100, 1400, 1900, 2600, 3300])
def test_the_programme_agrees_with_trying_all(budget):
    sizes = [700, 500, 900, 400]
    blocks = tuple(
        Block(f"b.{at}", size, {4: size // 7, 8: size // 4}, size - 50, 60, 1e3 * size, 4.0 * size)
        for at, size in enumerate(sizes)
    )
    windows = tuple(Window(at, at + 1, 300 + 10 * at) for at in range(4))
    census = Census(blocks, Block("", 80, {4: 40, 8: 60}, 60), (*windows, Window(None, 4, 350)), 1e7, 1e5)
    found = solve.fastest(census, COSTS, budget, (4, 8))
    expected = exhaustive(census, COSTS, budget, (4, 8))
    if expected == float("inf"):
        assert found is None
    else:
        tie = 0.01 * solve.plain_seconds(census, COSTS)
        assert expected <= found.seconds + 1e-12 <= expected + tie + 1e-12


def test_the_census_knows_blocks_and_windows(stack):
    census = take_census(Predictor(Subject(*stack)), (4, 8))
    assert [block.name for block in census.blocks] == [f"blocks.{at}" for at in range(4)]
    assert len({block.plain for block in census.blocks[1:]}) == 1
    for block in census.blocks:
        assert 0 < block.kept[4] < block.kept[8] < block.plain
        assert block.flops == 2 * 2 * 512 * 64 * 256
    assert {window.block for window in census.windows} >= {0, 1, 2, 3}


def test_owner_is_a_whole_path():
    blocks = ("layer.1", "layer.10")
    assert owner_of("layer.1.linear", blocks) == "layer.1"
    assert owner_of("layer.10.linear", blocks) == "layer.10"
    assert owner_of("layer.100", blocks) == ""


def test_rules_of_a_mix_keep_what_is_to_be_exact():
    assignments = (
        Assignment("a.0", "keep"),
        Assignment("a.1", "quantize", 4),
        Assignment("a.2", "quantize", 4),
        Assignment("a.3", "quantize", 8),
        Assignment("a.4", "recompute"),
        Assignment("", "keep"),
    )
    mix = Mix(assignments, 0.0)
    keep, finer = mix.rules()
    assert (keep.keep, keep.where.owners) == (True, ("a.0", "a.4", ""))
    assert (finer.bits, finer.where.owners) == (8, ("a.3",))
    assert (mix.bits(), mix.recomputed) == (4, ("a.4",))
    assert str(assignments[3]) == "a.3: quantize at 8 bits"


def test_costs_are_positive(tmp_path):
    costs = measure_costs(directory=tmp_path)
    speeds = [*costs.quantize.values(), *costs.dequantize.values(), costs.copy, costs.flops, costs.write, costs.read]
    assert all(speed > 0 for speed in speeds)
    assert not list(tmp_path.iterdir())


def test_without_scipy_the_best_level_is_chosen(stack, monkeypatch):
    monkeypatch.setattr(solve, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install scipy"):
        solve.fastest(take_census(Predictor(Subject(*stack)), (4, 8)), COSTS, 10, (4, 8))
    monkeypatch.setattr(planner, "find_spec", lambda name: None)
    plan, _ = share(*stack, 0.6)
    assert plan.choice in {"L1", "checkpointing", "CB1"}
    assert "pip install scipy" in plan.note


def test_gradients_of_a_recomputed_mix_are_exact(stack):
    model, inputs = stack
    model(inputs).backward()
    exact = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    plan = gact.plan(model, inputs)
    context = plan.apply(model, "checkpointing")
    with context:
        loss = model(inputs)
    context.backward(loss)
    for parameter, gradient in zip(model.parameters(), exact, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_the_table_names_every_level(stack):
    text = str(gact.plan(*stack, memory="5 MiB", costs=COSTS, sizes=["batch"]))
    for word in ("L0", "checkpointing", "L1", "largest batch", "choice: "):
        assert word in text
