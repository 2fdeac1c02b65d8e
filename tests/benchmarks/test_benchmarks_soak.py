"""The long training and its interrupts, in short: nothing grows and nothing stays."""

import pytest
import torch
from benchmarks.soak import Held, Soak, interrupted, interrupts, left


def test_tensors_and_objects_do_not_grow():
    soak = Soak()
    soak.run(40)
    before = Held.now()
    soak.run(40)
    after = Held.now()
    assert after.tensors <= before.tensors
    assert after.objects <= before.objects + 50


def test_interrupts_leave_nothing_behind():
    found = list(interrupts(Soak(), 24))
    assert len({at for at, _ in found}) == 24
    assert [(at, what) for at, what in found if what] == []


def test_training_goes_on_after_interrupts_as_if_there_had_been_none():
    soak, fresh = Soak(adaptive=False), Soak(adaptive=False)
    state = {name: value.clone() for name, value in soak.model.state_dict().items()}
    for _ in interrupts(soak, 6):
        pass
    soak.model.load_state_dict(state)
    for each in soak, fresh:
        torch.manual_seed(1)
        with each.compressor:
            loss = each.model(torch.randn(64, 64)).square().mean()
        each.optimizer.zero_grad()
        loss.backward()
        each.optimizer.step()  # with which the step ends
    for got, truth in zip(soak.model.parameters(), fresh.model.parameters(), strict=True):
        assert (got.grad - truth.grad).norm() < 0.2 * truth.grad.norm()  # other seeds of rounding
    assert left() == []


def test_what_is_left_is_named():
    soak = Soak()
    with soak.compressor:
        soak.model(torch.randn(64, 64))
        assert set(left()) >= {"hooks", "function mode", "module hooks", "switch"}
    soak.optimizer.step()
    assert left() == []


def test_an_interrupt_beyond_the_end_does_not_come():
    assert not interrupted(lambda: None, 1)
    assert interrupted(lambda: Soak().run(1), 10)


@pytest.mark.parametrize("kind", ["forward", "backward", "unread"])
def test_steps_that_fail_leave_nothing(kind):
    soak = Soak()
    for _ in range(3):
        soak.step(kind, 16)
    soak.optimizer.step()
    assert left() == []
