"""Factories that a command line names: what they must be is said where they are not."""

import pytest

from gact.planning.factory import FactoryError, call_factory, load_factory

MODULE = """
import torch
from torch import nn
def good():
    return nn.Linear(4, 4), torch.randn(2, 4)
def with_loss():
    return nn.Linear(4, 4), torch.randn(2, 4), lambda model, x: model(x).sum()
def alone():
    return nn.Linear(4, 4)
def number():
    return nn.Linear(4, 4), 3
"""


@pytest.fixture(autouse=True)
def _module(tmp_path, monkeypatch):
    (tmp_path / "made_for_factories.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_factory_makes_a_model_a_batch_and_perhaps_a_loss():
    model, batch, loss_fn = call_factory("made_for_factories:good")
    assert loss_fn is None
    assert model(batch).shape == (2, 4)
    assert call_factory("made_for_factories:with_loss")[2] is not None


def test_errors_say_what_to_do():
    with pytest.raises(FactoryError, match=r"must be named as package\.module:function, got 'made'"):
        load_factory("made")
    with pytest.raises(FactoryError, match="no_such_module cannot be imported"):
        load_factory("no_such_module:f")
    with pytest.raises(FactoryError, match=r"made_for_factories has no function 'f'\. It has good, with_loss"):
        load_factory("made_for_factories:f")
    with pytest.raises(FactoryError, match=r"must return \(model, batch\) or \(model, batch, loss_fn\), got Linear"):
        call_factory("made_for_factories:alone")
    with pytest.raises(FactoryError, match="must be a tensor, a tuple or a dictionary, got int"):
        call_factory("made_for_factories:number")
