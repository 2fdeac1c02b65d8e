"""Kinds under ``torch.compile`` with the operators that Inductor makes of others, written out."""

import warnings

import pytest
import test_gradients_bounds as bounds
import test_gradients_decays as decays
import test_gradients_divided as divided
import test_gradients_logits as logits
import test_gradients_losses as losses
import test_gradients_norms as norms
import test_gradients_shrunk as shrunk
import test_gradients_steep as steep
import test_gradients_uneven as uneven
import torch
from kinds import Kinds

KINDS = Kinds()
CHOSEN = (
    (bounds, "at_the_bound celu"),
    (decays, "chunk pair 64 64 0.5"),
    (decays, "chunk product 64 64 0.2"),
    (divided, "softmax product rsqrt"),
    (divided, "softmax where sum"),
    (divided, "router softmax"),
    (divided, "quiet_row_of_few_columns gelu root"),
    (divided, "quiet_row_of_few_columns square layer"),
    (logits, "label_smoothing sure"),
    (logits, "padded_vocabulary sure 0.1"),
    (losses, "divergence_whose_target_learns False 20.0"),
    (losses, "divergence_whose_target_learns True 1.0"),
    (losses, "negative_likelihood_of_a_normal"),
    (losses, "samples Gamma"),
    (norms, "sink"),
    (shrunk, "bounded_function_of_outliers relu -1000.0"),
    (shrunk, "difference_of_two_that_are_nearly_the_same"),
    (steep, "probability clamp"),
    (steep, "probability gather"),
    (steep, "probability binary"),
    (steep, "jensen_shannon"),
    (steep, "divided softplus"),
    (uneven, "renormalised behind"),
)


@KINDS.of(*CHOSEN)
def written_out(kinds, name):
    model, loss = kinds.KINDS[name]()
    torch._dynamo.reset()
    return model, torch.compile(loss, backend="aot_eager_decomp_partition")


@pytest.mark.parametrize("name", KINDS)
def test_written_out(name, monkeypatch):
    warnings.simplefilter("ignore")
    monkeypatch.setattr("gact.compiled.values.SMALL", 64)  # as if there were more of everything
    KINDS.check(name, (8, 4))
