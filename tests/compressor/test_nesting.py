"""Contexts inside contexts: ours, another compressor's, other people's hooks. Nothing is dropped without a word."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.graph import allow_mutation_on_saved_tensors, save_on_cpu, saved_tensors_hooks

import gact
from saved import active_pair, address, roundtrip, save


@pytest.fixture
def model():
    return nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8))


@pytest.fixture
def x():
    return torch.randn(64, 32)


def test_entering_again_inside_changes_nothing(model, x):
    c = gact.Compressor(model, min_bytes=0)
    with c:
        pair = active_pair()
        with c, c:
            assert active_pair() == pair
            first = model(x)
        assert active_pair() == pair
        second = model(x).sin()
    assert active_pair() is None
    report = c.report()
    assert report.coverage == 100
    assert sum(row.count for row in report.rows) == 3 + 4
    (first.sum() + second.sum()).backward()


def test_entering_gives_the_compressor():
    c = gact.Compressor(min_bytes=0)
    with c as entered:
        save(torch.randn(64))
    assert entered is c


def test_a_context_can_be_opened_again_after_it_was_closed(model, x):
    c = gact.Compressor(model, min_bytes=0)
    for _ in range(3):
        with c:
            loss = model(x).sum()
        loss.backward()
        assert c.report().coverage == 100


def test_another_compressor_inside_is_refused_with_words(model, x):
    outer, inner = gact.Compressor(model, min_bytes=0), gact.Compressor(model, min_bytes=0)
    with outer:
        with pytest.raises(RuntimeError, match=r"entered while other saved-tensor hooks are active \(gact\."), inner:
            pass
        output = model(x)
    assert outer.report().coverage == 100
    output.sum().backward()
    with inner:
        output = model(x)
    assert inner.report().coverage == 100


def identity(x):
    return x


OUTER = {
    "save_on_cpu": save_on_cpu,
    "hooks": lambda: saved_tensors_hooks(identity, identity),
    "allow_mutation": allow_mutation_on_saved_tensors,
}


@pytest.mark.parametrize("make", OUTER.values(), ids=OUTER)
def test_other_hooks_outside_are_refused_with_words(make, model, x):
    c = gact.Compressor(model, min_bytes=0)
    with make():
        pair = active_pair()
        with pytest.raises(RuntimeError, match="Autograd calls only the innermost pair") as caught, c:
            pass
        assert active_pair() == pair
        assert pair[0].__qualname__ in str(caught.value)
        model(x).sum().backward()
    assert model[0].weight.grad is not None


@pytest.mark.parametrize("make", OUTER.values(), ids=OUTER)
def test_other_hooks_inside_are_named_once(make, model, x):
    c = gact.Compressor(model, min_bytes=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            with c:
                with make():
                    model(x).sum().backward()
                outer = model(x)
            outer.sum().backward()
    ours = [str(each.message) for each in caught if "gact" in str(each.message)]
    assert len(ours) == 1
    assert "gact does not see what is saved inside the inner saved-tensor hooks" in ours[0]
    assert c.report().coverage == 100


def test_the_inner_hooks_are_in_charge_of_what_they_see():
    seen, x = [], torch.randn(64, 32)
    with pytest.warns(UserWarning, match="does not see"), gact.Compressor(min_bytes=0):  # noqa: PT031
        outer = save(x)
        with saved_tensors_hooks(lambda tensor: seen.append(tensor) or tensor, identity):
            inner = (x * torch.randn(64, 32, requires_grad=True)).sum()
    assert len(seen) == 1
    assert address(seen[0]) == address(x)
    assert outer.grad_fn.saved_tensors[0].data_ptr() != x.data_ptr()
    inner.backward()


def test_other_hooks_inside_that_see_nothing_are_not_mentioned(model, x):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with gact.Compressor(model, min_bytes=0):
            output = model(x)
            with save_on_cpu():
                pass
    output.sum().backward()


def test_the_warning_points_at_the_users_line(model, x):
    with pytest.warns(UserWarning, match="gact compressed nothing") as caught, gact.Compressor(model):
        model(x)
    assert caught[0].filename == __file__


def test_warnings_from_other_depths_point_at_the_users_line_too(model, x):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with gact.Compressor(model, min_bytes=0, rules=[gact.Rule(module="none", keep=True)]):
            model(x)
        with torch.autograd.graph.disable_saved_tensors_hooks("not here"), gact.Compressor():
            pass
    assert [each.filename for each in caught] == [__file__] * 2
    assert "matched no saved tensor" in str(caught[0].message)
    assert "stands aside" in str(caught[1].message)


def test_hooks_by_name_of_a_callable_without_a_name():
    class Pack:
        def __call__(self, tensor):
            return tensor

    with (
        saved_tensors_hooks(Pack(), identity),
        pytest.raises(RuntimeError, match="other saved-tensor hooks are active"),
    ):
        gact.Compressor().__enter__()


def test_hooks_by_name_of_a_callable_without_a_name_inside(x):
    class Pack:
        def __call__(self, tensor):
            return tensor

    with pytest.warns(UserWarning, match="does not see"), gact.Compressor(min_bytes=0):  # noqa: PT031
        kept = save(x)
        with saved_tensors_hooks(Pack(), identity):
            (x * torch.randn(64, 32, requires_grad=True)).sum()
    assert kept is not None


def test_hooks_that_are_switched_off_by_the_user():
    x = torch.randn(64, 32)
    with (
        torch.autograd.graph.disable_saved_tensors_hooks("not here"),
        pytest.warns(UserWarning, match="stands aside"),
        gact.Compressor(min_bytes=0) as c,
    ):
        output = save(x)
    assert output.grad_fn.saved_tensors[0].data_ptr() == x.data_ptr()
    assert not torch.equal(roundtrip(c, x), x)


def test_modes_inside_and_outside():
    x = torch.randn(64, 32)
    c = gact.Compressor(min_bytes=0)
    with torch.device("cpu"), c, torch.device("cpu"), torch.autograd.set_multithreading_enabled(False):
        output = (x * torch.ones(64, 32, requires_grad=True)).exp()
    assert c.report().coverage == 100
    with torch.device("meta"):
        output.sum().backward()


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("inside", [False, True], ids=["backward outside", "backward inside"])
def test_checkpointing_inside_the_context(reentrant, inside):
    blocks = nn.ModuleList(nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Dropout(0.1)) for _ in range(4))
    x = torch.randn(128, 64, requires_grad=True)

    def loss():
        hidden = x * 1
        for block in blocks:
            hidden = torch.utils.checkpoint.checkpoint(block, hidden, use_reentrant=reentrant)
        return hidden.square().mean()

    torch.manual_seed(3)
    loss().backward()
    exact = [parameter.grad for parameter in blocks.parameters()]
    blocks.zero_grad()
    c = gact.Compressor(blocks, bits=8, min_bytes=0)
    torch.manual_seed(3)
    with c:
        output = loss()
        report = c.report()
        if inside:
            output.backward()
    if not inside:
        output.backward()
    # Only the boundaries of the blocks and the loss are saved: five tensors.
    assert sum(row.count for row in report.rows) == 5
    assert report.coverage == 100
    for parameter, gradient in zip(blocks.parameters(), exact, strict=True):
        assert F.cosine_similarity(parameter.grad.flatten(), gradient.flatten(), 0) > 0.99


@pytest.mark.filterwarnings("error")
def test_checkpointing_is_no_reason_to_warn():
    block, x = nn.Linear(64, 64), torch.randn(128, 64, requires_grad=True)
    with gact.Compressor(block, min_bytes=0):
        loss = torch.utils.checkpoint.checkpoint(block, x * 1, use_reentrant=False).sin().sum()
    loss.backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_a_compressor_inside_a_checkpointed_block_does_not_defeat_checkpointing():
    block, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64)), torch.randn(128, 64, requires_grad=True)
    c = gact.Compressor(block, min_bytes=0)

    def run(hidden):
        with c:
            return block(hidden)

    with pytest.raises(RuntimeError, match="other saved-tensor hooks are active"):
        torch.utils.checkpoint.checkpoint(run, x * 1, use_reentrant=False)
