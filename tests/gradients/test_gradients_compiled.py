"""Losses and bounds under ``torch.compile``, where backward is written out in simpler operators."""

import warnings

import pytest
import test_gradients_bounds as bounds
import test_gradients_logits as logits
import test_gradients_losses as losses
import torch
from kinds import Kinds

KINDS = Kinds()
CHOSEN = (
    (bounds, "at_the_bound elu"),
    (logits, "label_smoothing sure"),
    (logits, "padded_vocabulary sure 0.1"),
    (losses, "divergence_whose_target_learns False 1.0"),
    (losses, "divergence_whose_target_learns True 1.0"),
)


@KINDS.of(*CHOSEN)
def compiled(kinds, name):
    model, loss = kinds.KINDS[name]()
    torch._dynamo.reset()
    return model, torch.compile(loss, backend="aot_eager")


@pytest.mark.parametrize("name", KINDS)
def test_compiled(name):
    warnings.simplefilter("ignore")
    KINDS.check(name, (8, 4))
