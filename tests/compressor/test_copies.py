"""Copies of a model that are made inside a context: they are those of the model as it is outside."""

import copy
import functools
import pickle
import types

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

import gact
from gact.checkpoint.checkpointing import Checkpointing


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(8, 8)

    def forward(self, x):
        return self.inner(x).tanh()


class CopiesAttributes(Block):
    """Takes what it holds for what it is."""

    def __deepcopy__(self, memo):
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        for name, value in self.__dict__.items():
            made.__dict__[name] = copy.deepcopy(value, memo)
        return made

    def __reduce__(self):
        return _restored, (type(self),), tuple(self.__dict__.items())

    def __setstate__(self, state):
        self.__dict__.update(state)


class HasState(Block):
    """Has more in its state than attributes."""

    def __getstate__(self):
        return {**self.__dict__, "extra": 1}


def _restored(kind):
    return kind.__new__(kind)


def negated(x):
    return -x


def by_pickle(model):
    return pickle.loads(pickle.dumps(model))


def averaged(model):
    return AveragedModel(model).module


WAYS = {"deepcopy": copy.deepcopy, "copy": copy.copy, "pickle": by_pickle, "averaged": averaged}


def assert_copy(made, model, x):
    """A copy computes what the model does, and with its own parameters unless it is shallow."""
    assert torch.equal(made(x), model(x))
    if made[0] is not model[0]:
        expected = model(x)
        made[0].inner.weight.data.add_(1)
        assert not torch.equal(made(x), expected)
        assert torch.equal(model(x), expected)


@pytest.mark.parametrize("kind", [Block, HasState])
@pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)
def test_copies_have_the_attributes_that_they_have_outside(make, kind):
    model, x = nn.Sequential(*(kind() for _ in range(3))), torch.ones(2, 8)
    with gact.Compressor(model, adaptive=False, min_bytes=0, checkpoint=True):
        made = make(model)
        single = copy.copy(model[0])
        loss = model(x).sum()
    outside = make(model)
    assert [block.__dict__.keys() for block in made] == [block.__dict__.keys() for block in outside]
    assert single.__dict__.keys() == copy.copy(model[0]).__dict__.keys()
    assert_copy(made, model, x)
    loss.backward()


@pytest.mark.parametrize("make", [copy.deepcopy, by_pickle])
def test_copies_by_a_way_of_the_models_own(make):
    model, x = nn.Sequential(*(CopiesAttributes() for _ in range(3))), torch.ones(2, 8)
    with Checkpointing(model, ["*"]):
        made = make(model)
    assert all(block.forward == types.MethodType(CopiesAttributes.forward, block) for block in made)
    with Checkpointing(made, ["*"]):
        assert_copy(make(made), made, x)
    assert_copy(made, model, x)


@pytest.mark.parametrize("make", [copy.deepcopy, by_pickle, copy.copy])
def test_copies_of_a_block_with_a_forward_of_the_users_own(make):
    model, x = nn.Sequential(Block(), Block(), Block()), torch.ones(2, 8)
    own = model[0].forward = functools.partial(negated)
    with Checkpointing(model, ["*"]):
        made = make(model)
        single = make(model[0])
    for block in made[0], single:
        assert type(block.forward) is functools.partial
        assert torch.equal(block(x), -x)
    assert model[0].forward is own


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_two_contexts_over_the_same_blocks_end_in_any_order(order):
    model = nn.Sequential(Block(), Block(), Block())
    before = [block.__dict__.keys() for block in copy.deepcopy(model)]
    contexts = [Checkpointing(model, ["*"]) for _ in range(2)]
    for context in contexts:
        context.__enter__()
    assert [block.__dict__.keys() for block in copy.deepcopy(model)] == before
    contexts[order[0]].__exit__()
    assert [block.__dict__.keys() for block in copy.deepcopy(model)] == before
    assert all("forward" in block.__dict__ for block in model)
    contexts[order[1]].__exit__()
    assert [block.__dict__.keys() for block in model] == before


def test_a_class_that_minds_its_attributes_is_not_asked():
    class Minds(Block):
        def __setattr__(self, name, value):
            assert name != "forward"
            super().__setattr__(name, value)

        def __delattr__(self, name):
            raise AssertionError(name)

    model, x = nn.Sequential(Minds(), Minds()), torch.ones(2, 8)
    with Checkpointing(model, ["*"]):
        model(x).sum().backward()
    assert all("forward" not in block.__dict__ for block in model)


class Trained(nn.Module):
    """Has its compressor for an attribute, as modules of trainers do."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(32, 64), nn.Linear(64, 32)
        self.compressor = gact.Compressor(self, bits=2, min_bytes=0, adaptive=False, seed=3)

    def forward(self, x):
        return self.second(torch.tanh(self.first(x)))

    def gradient(self, x):
        self.zero_grad()
        with self.compressor:
            loss = self(x).square().mean()
        self.compressor.backward(loss)
        return torch.cat([parameter.grad.flatten() for parameter in self.parameters()])


@pytest.mark.parametrize("make", [copy.deepcopy, by_pickle, averaged])
def test_a_compressor_that_is_an_attribute_of_its_model(make):
    model, x = Trained(), torch.randn(16, 32)
    model.gradient(x)
    made, again = make(model), make(make(model))
    assert made.compressor is not model.compressor
    expected = model.gradient(x)
    for each in made, again:
        assert each.compressor._model is each
        assert torch.equal(each.gradient(x), expected)  # of the same step: the state came along
    assert {row.module for row in made.compressor.report().rows} == {"", "first", "second"}


def test_a_copy_that_cannot_be_made_says_so_each_time_it_is_used():
    model = nn.Sequential(*(Block() for _ in range(3)))
    model.compressor = gact.Compressor(model, checkpoint=["2"])
    made = copy.deepcopy(model)
    del made[0]
    for _ in range(2):
        with pytest.raises(ValueError, match="matches no module"), made.compressor:
            pass


def test_a_copy_has_no_attributes_that_a_compressor_has_not():
    made = copy.copy(gact.Compressor())
    with pytest.raises(AttributeError, match="'Compressor' object has no attribute 'bits'"):
        made.bits  # noqa: B018
    assert not hasattr(gact.Compressor(), "bits")
