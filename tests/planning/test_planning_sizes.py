"""The largest batch and sequence: one more does not fit, and what the law cannot know is said."""

import pytest
import torch
from benchmarks.planned import make
from torch import nn

import gact
from gact.planning import Costs
from gact.planning.devices import DEVICES, budget_of
from gact.planning.scaling import largest


@pytest.mark.parametrize("budget", [1000, 5000, 12345, 40000])
@pytest.mark.parametrize("start", [1, 7, 300])
def test_affine_law_is_solved_exactly(budget, start):
    found = largest(lambda size: 100 + 70 * size, start, budget, 1)
    exact = max((budget - 100) // 70, 0)
    assert exact - exact // 256 <= found.size <= exact
    assert found.limit == "memory"


@pytest.mark.parametrize("budget", [2000, 50000, 10**7])
def test_quadratic_law_is_solved_exactly(budget):
    def peak(size):
        return 100 + 20 * size + 3 * size * size

    found = largest(peak, 16, budget, 2)
    assert found.peak == peak(found.size) <= budget
    assert peak(found.size + found.size // 256 + 1) > budget


def test_a_law_with_a_bend_is_followed():
    def peak(size):
        return max(5000 + 10 * size, 100 * size)

    found = largest(peak, 2, 20000, 1)
    assert found.size == 200


def test_few_predictions_are_made():
    asked = []
    largest(lambda size: asked.append(size) or 1000 + 77 * size, 16, 10**6, 1)
    assert len(asked) == len(set(asked)) <= 8


def test_nothing_fits():
    found = largest(lambda size: 1000 + size, 4, 500, 1)
    assert (found.size, found.peak > 500) == (0, True)


def test_the_models_own_limit_is_said():
    def peak(size):
        if size > 40:
            raise IndexError("position")
        return 10 * size

    found = largest(peak, 16, 10**6, 2)
    assert (found.size, found.limit) == (40, "model")


def test_an_error_at_a_smaller_size_is_no_limit():
    def peak(size):
        if size < 16:
            raise ValueError("too short")
        return size

    with pytest.raises(ValueError, match="too short"):
        largest(peak, 16, 1000, 1)


def test_the_largest_batch_of_a_network_fits_and_one_more_does_not():
    model, inputs, _ = make("gpt2", tiny=True)
    model.transformer.h = model.transformer.h[:1]
    costs = Costs({4: 1.0, 8: 1.0}, {4: 1.0, 8: 1.0}, 1.0, 1.0)  # nothing is timed
    options = {"memory": "24 MiB", "costs": costs}
    plan = gact.plan(model, inputs, levels=("L0", "L1"), sizes=["batch"], **options)
    for level in plan.levels:
        size, fits = level.batch.size, []
        for batch in (size, size + size // 256 + 1):
            ids = torch.zeros(batch, inputs["input_ids"].shape[1], dtype=torch.int64)
            one = gact.plan(model, {"input_ids": ids, "labels": ids}, levels=(level.name,), sizes=(), **options)
            fits.append(one.level(level.name).fits)
        assert fits == [True, False], level.name
    assert plan.level("L1").batch.size > plan.level("L0").batch.size


def test_a_sequence_ends_where_positions_do():
    model, inputs, _ = make("bert", tiny=True)
    plan = gact.plan(model, inputs, memory="60 GiB", levels=("L0",), sizes=["sequence"])
    assert plan.level("L0").sequence.size == model.config.max_position_embeddings
    assert plan.level("L0").sequence.limit == "model"


def test_a_sequence_of_features_is_named():
    model, inputs, loss_fn = make("lstm", tiny=True)
    assert gact.plan(model, inputs, loss_fn, levels=("L0",)).length is None
    plan = gact.plan(model, inputs, loss_fn, memory="8 MiB", levels=("L0",), sequence_dim=1, sizes=["sequence"])
    assert plan.length == inputs[0].shape[1]
    assert plan.level("L0").sequence.size > plan.length
    with pytest.raises(ValueError, match="sequence_dim must be a dimension after the first"):
        gact.plan(model, inputs, loss_fn, sequence_dim=3)


def test_devices_leave_room_for_their_context():
    assert DEVICES["T4"] < 15 * 2**30
    assert budget_of("8 GiB", None) == 8 * 2**30
    with pytest.raises(ValueError, match="device must be one of 'T4', 'L4'"):
        budget_of(None, "K80")
    with pytest.raises(ValueError, match="pass either memory or device"):
        budget_of("8 GiB", "T4")


def test_errors_say_what_to_do():
    linear, x = nn.Linear(4, 4), torch.randn(2, 4)
    with pytest.raises(ValueError, match=r"backward needs a loss.*Linear returned a tensor of shape \[2, 4\].*loss_fn"):
        gact.plan(linear, x)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got int"):
        gact.plan(3, x)
    with pytest.raises(ValueError, match="inputs must hold a tensor with a batch dimension, got int"):
        gact.plan(linear, 3)
    with pytest.raises(ValueError, match="level must be one of 'L0'"):
        gact.plan(linear, x, levels=("L9",))
    with pytest.raises(ValueError, match="sizes must be one of 'batch', 'sequence', got 'width'"):
        gact.plan(linear, x, sizes=["width"])
    with pytest.raises(ValueError, match="bits must be whole"):
        gact.plan(linear, x, bits=3.5)
    with pytest.raises(ValueError, match="has lazy parameters"):
        gact.plan(nn.LazyLinear(3), x)
    with pytest.raises(ValueError, match="a plan needs ordinary tensors, got one of layout"):
        gact.plan(linear, x.to_sparse(), lambda model, x: model(x.to_dense()).sum())
    with pytest.raises(ValueError, match="the step cannot be run without data: DataDependentOutputException"):
        gact.plan(linear, x, lambda model, x: model(x[: int(x.argmax())]).sum())


def test_a_model_that_cannot_be_copied_is_named():
    class Stubborn(nn.Linear):
        def __deepcopy__(self, memo):
            raise RuntimeError("a socket is open.")

    with pytest.raises(ValueError, match=r"copy.deepcopy of Stubborn failed: a socket is open"):
        gact.plan(Stubborn(4, 4), torch.randn(2, 4))


def test_questions_of_yes_or_no_are_answered_as_for_a_batch_without_padding():
    linear = nn.Linear(64, 64)
    asked = []

    def loss(model, inputs):
        x, mask = inputs
        asked.append((bool(mask.all()), bool(mask.any()), float(x.sum())))
        return model(x).sum()

    gact.plan(linear, (torch.randn(8, 64), torch.ones(8, dtype=torch.bool)), loss, levels=("L0",))
    assert set(asked) == {(True, False, 1.0)}
