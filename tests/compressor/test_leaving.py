"""Pieces of a context that raise: all others are closed, and the error is not lost."""

from unittest import mock

import pytest
import torch

import gact
from gact.checkpoint import checkpointing
from leftovers import assert_as_new, left_behind, step
from saved import active_pair

pytestmark = pytest.mark.filterwarnings("ignore:gact compressed nothing")


class BrokenError(Exception):
    """What a piece raises."""


OPENING = [
    "autograd.hooks.Hooks.push",
    "packing.consumers.Consumers.__enter__",
    "packing.consumers.follow",
    "packing.consumers.Consumers.watch",
    "checkpoint.checkpointing.Checkpointing.open",
    "checkpoint.checkpointing._Forward.put_in",
    "memory.serving.Serving.begin",
    "memory.serving.serve_steps",
]
CLOSING = [
    "memory.serving.Serving.end",
    "checkpoint.checkpointing.Checkpointing.close",
    "checkpoint.checkpointing._Forward.put_back",
    "packing.consumers.Consumers.__exit__",
    "context.take_off",
    "context.unfollow",
    "autograd.hooks._Open.discard",
]


def raising(name, error, *, late=False):
    """Has a piece of gact raise; late, after it has done its part."""
    target = gact
    *path, last = name.split(".")
    for part in path:
        target = getattr(target, part)
    real = getattr(target, last)

    def run(*args, **kwargs):
        if late:
            real(*args, **kwargs)
        raise error

    return mock.patch.object(target, last, run)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("piece", OPENING)
def test_a_piece_that_raises_while_it_is_opened(piece, kind, late, c, model):
    # A second context can neither close what belongs to the first nor end the step that it began.
    with raising(piece, kind("here"), late=late), pytest.raises(kind, match="here"):
        c.__enter__()
    assert left_behind(c, model) == []
    assert not gact.allocator_status().enabled
    assert_as_new(c, model)


@pytest.mark.parametrize("kind", [BrokenError, KeyboardInterrupt])
@pytest.mark.parametrize("piece", CLOSING)
def test_a_piece_that_raises_while_it_is_closed(piece, kind, c, model):
    with raising(piece, kind("here"), late=True), pytest.raises(kind, match="here"), c:
        pass
    assert_as_new(c, model)


def test_a_block_that_raises_when_its_forward_is_put_in(c, model):
    real, calls = checkpointing._Forward.put_in, []

    def second_raises(forward):
        calls.append(forward)
        if len(calls) == 2:
            raise BrokenError
        real(forward)

    with mock.patch.object(checkpointing._Forward, "put_in", second_raises), pytest.raises(BrokenError):
        c.__enter__()
    assert len(calls) == 2
    assert_as_new(c, model)


def test_an_entry_inside_that_is_refused_leaves_the_outer_one_open(c, model):
    other = gact.Compressor(model, adaptive=False, min_bytes=0, checkpoint=True)
    with c:
        pair = active_pair()
        with pytest.raises(RuntimeError, match="other saved-tensor hooks are active"):
            other.__enter__()
        assert active_pair() == pair
        assert gact.allocator_status().enabled == (gact.ops.cpu.library() is not None)
        assert all("forward" in block.__dict__ for block in model[1:])
        assert step(model, torch.enable_grad()) == (False, {2})
    assert_as_new(c, model)


def contexts(error):
    """An error and those that it shows."""
    found = [error]
    while found[-1].__context__ is not None:
        found.append(found[-1].__context__)
    return [str(each) for each in found]


def test_all_errors_are_shown(c, model):
    with (
        raising("checkpoint.checkpointing.Checkpointing.close", BrokenError("blocks"), late=True),
        raising("memory.serving.Serving.end", BrokenError("serving"), late=True),
        pytest.raises(BrokenError) as caught,
        c,
    ):
        raise BrokenError("forward")
    assert contexts(caught.value) == ["forward", "serving", "blocks"]
    assert_as_new(c, model)


def run(body):
    """The body of a context, which raises if it is given an error."""
    if body is not None:
        raise body


@pytest.mark.parametrize("body", [None, BrokenError("forward"), KeyboardInterrupt("body")])
@pytest.mark.parametrize("piece", [BrokenError("piece"), KeyboardInterrupt("piece")])
def test_an_interrupt_goes_on_before_other_errors(body, piece, c, model):
    with (
        raising("checkpoint.checkpointing.Checkpointing.close", piece, late=True),
        raising("memory.serving.Serving.end", BrokenError("serving"), late=True),
        pytest.raises((BrokenError, KeyboardInterrupt)) as caught,
        c,
    ):
        run(body)
    expected = next((each for each in (body, piece) if isinstance(each, KeyboardInterrupt)), body)
    assert caught.value is expected or (expected is None and str(caught.value) == "serving")
    assert {"serving", "piece", *([str(body)] if body else [])} == set(contexts(caught.value))
    assert_as_new(c, model)


def test_an_interrupt_in_the_body(c, model):
    with pytest.raises(KeyboardInterrupt), c:
        model(torch.ones(4, 16)).register_hook(run(KeyboardInterrupt()))
    assert_as_new(c, model)


def test_hooks_of_others_that_are_left_after_ours_stay(c, model):
    other = torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor, lambda tensor: tensor)
    with c:
        other.__enter__()
        pair = active_pair()
    assert active_pair() == pair
    other.__exit__()
    assert_as_new(c, model)


def test_function_modes_of_others_that_are_left_after_ours_stay(c, model):
    device = torch.device("meta")
    with c:
        device.__enter__()
    assert torch.empty(1).device.type == "meta"
    device.__exit__(None, None, None)
    assert_as_new(c, model)


def test_leaving_what_was_not_entered_changes_nothing(c, model):
    with pytest.raises(RuntimeError, match="left on a thread that had not entered it"):
        c.__exit__(None, None, None)
    assert_as_new(c, model)
