"""Blocks under checkpoint, ours and the user's: gradients, what is held, and the model afterwards."""

import functools
import gc
import threading
from inspect import signature

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

import gact
from gact.autograd.internals import FakeTensor
from gact.checkpoint.checkpointing import Checkpointing


class Block(nn.Module):
    """Counts its runs; takes a mask and a scale by keyword."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Dropout(0.2), nn.Linear(64, 32))
        self.runs = 0

    def forward(self, x, *, bias=None, scale=1.0):
        self.runs += 1
        return x + self.body(x if bias is None else x + bias) * scale


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(32, 32)
        self.blocks = nn.ModuleList(Block() for _ in range(3))

    def forward(self, x):
        x = self.stem(x)
        bias = torch.ones(16, 32) * 0.1
        for block in self.blocks:
            x = block(x, bias=bias, scale=0.5)
        return x.square().mean()


@pytest.fixture
def model():
    return Model()


@pytest.fixture
def x():
    return torch.randn(16, 32)


def gradients(model, x, context, backward=None):
    """The gradients of one step with that context around forward, the same dropout masks each time."""
    torch.manual_seed(7)
    with context:
        loss = model(x)
    loss.backward()
    state = torch.get_rng_state()
    found = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    return found, state


def equal(got, expected):
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


def exact(model, **options):
    return gact.Compressor(model, min_bytes=0, rules=[gact.Rule(keep=True)], **options)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_gradients_are_those_of_plain_training_when_the_boundaries_are_kept(model, x):
    expected, state = gradients(model, x, torch.enable_grad())
    for _ in range(2):
        got, after = gradients(model, x, exact(model, checkpoint=True))
        assert equal(got, expected)
        assert torch.equal(after, state)


def test_only_boundaries_are_held_and_compressed(model, x):
    c = gact.Compressor(model, min_bytes=0, checkpoint=True)
    gradients(model, x, c)
    rows = [(row.module, row.op, row.codec, row.reason) for row in c.report().rows]
    boundary = [
        (f"blocks.{at}", "checkpoint", codec, reason)
        for at in range(3)
        for codec, reason in (("groups", ""), ("mask", ""))
    ]
    assert rows == [("stem", "linear", "groups", ""), *boundary, ("", "square", "groups", "")]
    bias = [row for row in c.report().rows if row.codec == "mask"]
    assert sum(row.kept_bytes for row in bias) == 16 * 32 / 8  # zeros and one other number: a bit each, exactly


def test_compressed_boundaries_perturb_gradients_a_little(model, x):
    expected, _ = gradients(model, x, torch.enable_grad())
    got, _ = gradients(model, x, gact.Compressor(model, bits=8, min_bytes=0, checkpoint=True))
    for a, b in zip(got, expected, strict=True):
        assert nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.999


def test_blocks_run_twice_and_the_model_is_as_it_was(model, x):
    before = {name: dict(module.__dict__) for name, module in model.named_modules()}
    forward = model.blocks[1].forward
    gradients(model, x, gact.Compressor(model, min_bytes=0, checkpoint=True))
    assert [block.runs for block in model.blocks] == [2, 2, 2]
    assert all("forward" not in module.__dict__ for module in model.modules())
    assert model.blocks[1].forward == forward
    for name, module in model.named_modules():
        assert module.__dict__.keys() == before[name].keys()


def test_a_forward_of_the_users_own_is_put_back(model, x):
    real = model.blocks[0].forward

    def own(*args, **kwargs):
        return real(*args, **kwargs)

    model.blocks[0].forward = own
    with Checkpointing(model):
        assert model.blocks[0].forward is not own
    assert model.blocks[0].forward is own


def test_a_forward_that_is_replaced_meanwhile_stays(model):
    with Checkpointing(model):
        model.blocks[0].forward = other = lambda x: x
    assert model.blocks[0].forward is other


def test_an_exception_leaves_the_model_as_it_was(model):
    with pytest.raises(RuntimeError, match="mat1 and mat2"), gact.Compressor(model, checkpoint=True):
        model(torch.randn(16, 5))
    assert all("forward" not in module.__dict__ for module in model.modules())


def test_without_gradients_blocks_run_once(model, x):
    with Checkpointing(model), torch.no_grad():
        model(x)
    assert [block.runs for block in model.blocks] == [1, 1, 1]


def test_another_thread_is_left_alone(model, x):
    runs = []

    def work():
        loss = model(x)
        loss.backward()
        runs.append([block.runs for block in model.blocks])

    with Checkpointing(model):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert runs == [[1, 1, 1]]


def test_two_threads_at_once_open_and_close_in_any_order(model):
    context = Checkpointing(model)
    inside, outside = threading.Event(), threading.Event()

    def work():
        with context:
            inside.set()
            outside.wait()

    thread = threading.Thread(target=work)
    thread.start()
    inside.wait()
    with context:
        pass
    assert "forward" in model.blocks[0].__dict__
    outside.set()
    thread.join()
    assert "forward" not in model.blocks[0].__dict__


def test_entering_again_inside_changes_nothing(model, x):
    c = gact.Compressor(model, min_bytes=0, checkpoint=True)
    with c:
        with c:
            loss = model(x)
        assert "forward" in model.blocks[0].__dict__
    loss.backward()
    assert [block.runs for block in model.blocks] == [2, 2, 2]


def test_hooks_of_a_block_run_once(model, x):
    seen = []
    model.blocks[0].register_forward_hook(lambda *_: seen.append("after"))
    gradients(model, x, gact.Compressor(model, min_bytes=0, checkpoint=True))
    assert seen == ["after"]


def test_named_blocks(model, x):
    gradients(model, x, gact.Compressor(model, min_bytes=0, checkpoint=["blocks.1"]))
    assert [block.runs for block in model.blocks] == [1, 2, 1]


def test_settings_that_make_no_sense_are_said(model):
    with pytest.raises(ValueError, match="checkpoint needs the model, whose blocks it runs"):
        gact.Compressor(checkpoint=True)
    with pytest.raises(TypeError, match=r"checkpoint must be True, False or a list of module path patterns, got 'x'"):
        gact.Compressor(model, checkpoint="x")


def selective(policy):
    def context():
        return create_selective_checkpoint_contexts(policy)

    return context


def save_products(_ctx, op, *_args, **_kwargs):
    return CheckpointPolicy.MUST_SAVE if op is torch.ops.aten.addmm.default else CheckpointPolicy.PREFER_RECOMPUTE


WAYS = {
    "reentrant": {"use_reentrant": True},
    "non-reentrant": {"use_reentrant": False},
    "selective": {"use_reentrant": False, "context_fn": selective(save_products)},
}


class Checkpointed(nn.Module):
    """The user's own way to checkpoint."""

    def __init__(self, options):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.options = options

    def forward(self, x):
        x = x * 1
        for block in self.blocks:
            x = checkpoint(block, x, **self.options)
        return x.square().mean()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_the_users_own_checkpointing_gives_the_same_gradients(options, x):
    model = Checkpointed(options)
    x.requires_grad_()
    expected, state = gradients(model, x, torch.enable_grad())
    got, after = gradients(model, x, exact(model))
    assert equal(got, expected)
    assert torch.equal(after, state)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_nothing_is_held_twice(options, x):
    def live():
        gc.collect()
        storages = {}
        for thing in gc.get_objects():
            if isinstance(thing, FakeTensor):
                continue  # of what other tests compiled
            if issubclass(type(thing), torch.Tensor) and thing.layout is torch.strided:
                storages[thing.untyped_storage().data_ptr()] = thing.untyped_storage().nbytes()
        return sum(storages.values())

    model = Checkpointed(options)
    x.requires_grad_()
    held = {}
    for name, context in ("plain", torch.enable_grad()), ("gact", gact.Compressor(model, min_bytes=0)):
        before = live()
        with context:
            loss = model(x)
        held[name] = live() - before
        loss.backward()
        model.zero_grad()
        x.grad = None
    # Plain autograd keeps its boundaries out of Python's sight; ours are small codes that are in sight.
    boundaries = 3 * x.nbytes + x.nbytes
    assert held["gact"] <= held["plain"] + boundaries / 2
    with gact.Compressor(model, min_bytes=0) as c:
        model(x)
    hooked = [row.op for row in c.report().rows if row.reason != "kept by selective checkpointing"]
    assert hooked == ["checkpoint"] * 3 + ["square"]


class Nested(nn.Module):
    """Takes and returns its tensors in containers, and notes what it did in one of them."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 64))

    def forward(self, state, *, extra=()):
        for other in extra:
            state = {**state, "x": state["x"] + other["bias"]}
        state["pair"][1].append(1)
        return {"x": state["x"] + self.body(state["x"]), "pair": state["pair"]}


class Stack(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(64, 64)
        self.blocks = nn.ModuleList(Nested() for _ in range(3))

    def forward(self, x):
        self.notes = []
        bias = torch.full((64,), 0.1) * x.mean()
        state = {"x": self.stem(x), "pair": (x.mean(), self.notes)}
        for block in self.blocks:
            state = block(state, extra=[{"bias": bias}])
        return state["x"].square().mean()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_inputs_in_containers_give_plain_gradients_when_kept():
    model, x = Stack(), torch.randn(128, 64)
    expected, _ = gradients(model, x, torch.enable_grad())
    got, _ = gradients(model, x, exact(model, checkpoint=True))
    assert equal(got, expected)
    assert model.notes == [1, 1, 1]  # as a network without checkpoint leaves it: the second run has a list of its own


def test_inputs_in_containers_are_held_in_codes():
    model, x = Stack(), torch.randn(128, 64)
    c = gact.Compressor(model, bits=4, min_bytes=4096, checkpoint=True, adaptive=False)
    with c:
        loss = model(x)
    rows = [row for row in c.report().rows if row.op == "checkpoint" and row.plain_bytes >= 4096]
    assert sum(row.plain_bytes for row in rows) == 3 * x.nbytes
    assert all(row.codec == "groups" for row in rows)
    loss.backward()


def test_what_selective_checkpointing_keeps_is_counted():
    model, x = nn.ModuleList(nn.Sequential(nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64)) for _ in range(3)), None
    policy = [torch.ops.aten.addmm.default]
    c = gact.Compressor(model, bits=4, adaptive=False, min_bytes=4096)
    for _ in range(2):
        x = torch.randn(128, 64)
        with c:
            for block in model:
                x = checkpoint(
                    block, x, use_reentrant=False, context_fn=lambda: create_selective_checkpoint_contexts(policy)
                )
            loss = x.square().mean()
        rows = [row for row in c.report().rows if row.op == "selective_checkpoint"]
        assert [row.count for row in rows] == [1, 1, 1]
        assert sum(row.plain_bytes for row in rows) >= 3 * 128 * 256 * 4
        assert {row.reason for row in rows} == {"kept by selective checkpointing"}
        # Each storage once: the inputs of two of the blocks are outputs that the policy keeps.
        assert c.report().plain_bytes == 128 * (3 * (256 + 64) + 64) * 4
        loss.backward()


@pytest.mark.skipif("respect_saved_tensors_hooks" not in signature(checkpoint).parameters, reason="torch before 2.14")
@pytest.mark.parametrize("said", [{}, {"respect_saved_tensors_hooks": False}, {"respect_saved_tensors_hooks": True}])
@pytest.mark.filterwarnings("error")
def test_what_selective_checkpointing_keeps_may_be_shown_to_hooks(said, x):
    model = Checkpointed(WAYS["selective"] | said)
    x.requires_grad_()
    expected, _ = gradients(model, x, torch.enable_grad())
    c = gact.Compressor(model, bits=8, adaptive=False, min_bytes=0)
    got, _ = gradients(model, x, c)
    assert sum((a - b).square().sum() / b.square().sum() for a, b in zip(got, expected, strict=True)) < 1e-3
    kept = sum(row.kept_bytes for row in c.report().rows if row.op in ("selective_checkpoint", "linear"))
    assert kept == 3 * 4 * 16 * (64 + 32)


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("decides", [False, True])
def test_inputs_of_blocks_that_decide_are_exact(options, decides, x):
    def block(x):
        return x * (x > x.mean()) if decides else x * x.mean()

    c = gact.Compressor(nn.Linear(2, 2), bits=8, adaptive=False, min_bytes=0)
    with c:
        checkpoint(block, x.requires_grad_() * 1, **options).square().mean()
    (row,) = (row for row in c.report().rows if row.op == "checkpoint")
    assert row.codec == ("keep" if decides else "groups")
    assert row.reason == ("input of a checkpointed block that decides something" if decides else "")
    assert (row.call, row.count) == (0, 1)


def in_a_dict(block, x, scale):
    return checkpoint(lambda state: block(state["x"]), {"x": x}, use_reentrant=False)


def in_a_list_with_others(block, x, scale):
    return checkpoint(lambda first, others: block(first) * others[0][0], x, [(scale,)], use_reentrant=False)


def by_keyword(block, x, scale):
    return checkpoint(lambda x, scale: block(x) * scale, x, scale=scale, use_reentrant=False)


def bound_by_partial(block, x, scale):
    return checkpoint(functools.partial(lambda x, scale: block(x) * scale, scale=scale), x, use_reentrant=False)


def used_from_around(block, x, scale):
    return checkpoint(lambda x: block(x) * scale, x, use_reentrant=False)


def in_a_block_of_a_block(block, x, scale):
    return checkpoint(lambda x: by_keyword(block, x, scale), x, use_reentrant=False)


@pytest.mark.filterwarnings("ignore:gact compressed nothing. all . saved")
@pytest.mark.parametrize("twice", [1, 2])
@pytest.mark.parametrize(
    "way",
    [in_a_dict, in_a_list_with_others, by_keyword, bound_by_partial, used_from_around, in_a_block_of_a_block],
)
def test_what_a_checkpoint_holds_past_all_hooks_is_counted(way, twice):
    block = nn.Sequential(nn.Linear(64, 64), nn.Tanh())
    x, scale = torch.randn(256, 64, requires_grad=True), torch.randn(256, 64)
    c = gact.Compressor(block, min_bytes=0, adaptive=False)
    with c:
        for _ in range(twice):  # the same tensors again
            y = way(block, x, scale)
    held = x.nbytes if way is in_a_dict else x.nbytes + scale.nbytes
    assert c.report().plain_bytes == held
    carried = [row for row in c.report().rows if row.op == "checkpoint_arguments"]
    assert {row.reason for row in carried} == {"argument of a checkpoint by no position"}
    assert sum(row.kept_bytes for row in carried) == x.nbytes
    y.sum().backward()
