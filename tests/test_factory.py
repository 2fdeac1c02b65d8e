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
def sized(batch):
    return nn.Linear(4, 4), torch.randn(batch, 4)
def fails():
    return helper()
def helper():
    raise KeyError("mine")
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


def test_a_factory_is_asked_before_it_is_called_whether_it_takes_the_arguments():
    assert call_factory("made_for_factories:sized", 3)[1].shape == (3, 4)
    with pytest.raises(FactoryError, match=r"sized must be called without arguments; it is sized\(batch\): missing"):
        call_factory("made_for_factories:sized")
    with pytest.raises(FactoryError, match=r"good must be called with the batch size alone; it is good\(\): too many"):
        call_factory("made_for_factories:good", 3)


def test_a_failure_of_the_users_is_told_from_the_users_first_line_on():
    with pytest.raises(FactoryError) as failure:
        call_factory("made_for_factories:fails")
    first, *lines = str(failure.value).splitlines()
    assert first == "made_for_factories:fails failed:"
    assert [line.split(", in ")[1] for line in lines if ", in " in line] == ["fails", "helper"]
    assert lines[-1] == "KeyError: 'mine'"


@pytest.mark.parametrize(
    ("code", "error"), [("def f(:", "SyntaxError"), ("import not_there", "No module named 'not_there'")]
)
def test_a_module_that_fails_is_told_from_one_that_is_not_there(tmp_path, code, error):
    (tmp_path / "broken_for_factories.py").write_text(code)
    with pytest.raises(FactoryError, match="broken_for_factories failed while it was imported:") as failure:
        load_factory("broken_for_factories:f")
    assert error in str(failure.value)
    assert "importlib" not in str(failure.value)
    with pytest.raises(
        FactoryError, match=r"no_such_module\.inner cannot be imported: No module named 'no_such_module'"
    ):
        load_factory("no_such_module.inner:f")
