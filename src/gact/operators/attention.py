"""Fused attention and recurrent kernels.

NOTE: Large scores
Backward computes the probabilities again, as the exponential of scores less their exact logsumexp. At 8 bits a score
is off by about 0.7 % of ``|q| |k| scale / sqrt(d)``, which is harmless for scores of some tens and not beyond. So on a
CPU, where looking costs no waiting, queries and keys of large scores stay exact. Where the output is made again of what
queries, keys and values decode to (``remat/attended.py``), the two belong together: then larger scores may be coded,
and small ones in fewer bits.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import FakeTensor, is_at_hand
from .forms import ATTENTION
from .need import VALUE, WIDE, Need, entries, exact, merged

_LARGEST = 5.0
"""Greatest ``|q| |k| scale / sqrt(d)`` of a head at which queries and keys of 8 bits will do."""
_LARGE = exact("scores are large")
_DECIDED = "gact scores"
_ERROR = 1.8
"""Deviation of a score in codes of one level, for each unit of ``|q| |k| scale / sqrt(d)``."""
_MOST, _USUAL = 0.25, 0.035
"""Greatest deviation of a score, and of most scores, where the output is made again. What a row's scores
have in common does no harm there."""
_WIDTHS = (6, 7, 8)
_KEYS = tuple(Need("value", min_bits=bits, prior_bits=8) for bits in _WIDTHS)
_OUTPUT = Need("value", form=ATTENTION)


def score_need(node: Node, tensor: Tensor) -> Need:
    """Queries and keys: 8 bits at least, or exact where some score may be large; the same for both."""
    if not is_at_hand(tensor):
        return WIDE
    return _LARGE if _has_large_scores(node) else WIDE


def value_need(node: Node, tensor: Tensor) -> Need:
    """Values and results: what is read of them is a difference that almost cancels where scores are large."""
    if not is_at_hand(tensor):
        return VALUE
    return _LARGE if _has_large_scores(node) else VALUE


def _keys(node: Node, tensor: Tensor) -> Need:
    """Queries and keys of a kernel whose results can be made again: as many bits as their scores need."""
    if not _is_made_again(node, tensor):
        return score_need(node, tensor)
    largest, usual = _scores(node)
    step = _ERROR * max(largest / _MOST, usual / _USUAL)
    return next((need for need in _KEYS if step <= (1 << need.min_bits) - 1), _LARGE)


def _values(node: Node, tensor: Tensor) -> Need:
    return value_need(node, tensor) if _keys(node, tensor) is _LARGE or not _is_made_again(node, tensor) else VALUE


def _output(node: Node, tensor: Tensor) -> Need:
    needed = _values(node, tensor)
    return _OUTPUT if needed is VALUE and _is_made_again(node, tensor) else needed


def _is_made_again(node: Any, tensor: Tensor) -> bool:
    """Whether the kernel drew nothing, and its scores can be looked at."""
    return tensor.device.type == "cpu" and type(tensor) is not FakeTensor and node._saved_dropout_p == 0


def _has_large_scores(node: Node) -> bool:
    """Whether some score may be too large for codes of 8 bits beside an exact logsumexp."""
    return not _largest(node) <= _LARGEST


def _largest(node: Node) -> float:
    """What ``|q| |k| scale / sqrt(d)`` comes to at most."""
    return _scores(node)[0]


def _scores(node: Node) -> tuple[float, float]:
    """``|q| |k| scale / sqrt(d)`` at most, and for keys less their mean on average; looked at once for a node."""
    known = cast(dict[str, tuple[float, float]], node.metadata)
    if _DECIDED not in known:
        known[_DECIDED] = _looked_at(node)
    return known[_DECIDED]


def _looked_at(node: Any) -> tuple[float, float]:
    custom = getattr(node, "_raw_saved_tensors", None)
    saved = custom[:2] if custom else (node._raw_saved_query, node._raw_saved_key)
    waiting = (getattr(each.data, "packed", each.data) for each in saved)
    query, key = (getattr(save, "tensor", None) for save in waiting)
    if query is None or key is None:
        return math.inf, math.inf  # one of the two is held already, by somebody else
    width = query.shape[-1]
    factor = abs(getattr(node, "_saved_scale", None) or getattr(node, "scale", None) or 1 / math.sqrt(width))
    factor /= math.sqrt(width)
    lengths = [torch.linalg.vector_norm(each, dim=-1).float() for each in (query, key)]
    longest = [each.amax(-1) for each in lengths]
    # Of the keys less their mean, by the lengths of both.
    energy = [each.square().mean(-1) for each in lengths]
    energy[1] = (energy[1] - key.mean(-2).float().square().sum(-1)).clamp_(min=0)
    if longest[0].shape != longest[1].shape:  # heads that share their keys
        longest, energy = [each.amax() for each in longest], [each.mean() for each in energy]
    return float((longest[0] * longest[1]).amax()) * factor, math.sqrt(float((energy[0] * energy[1]).mean())) * factor


_SCORES = """
    CudnnAttentionBackward0 query key
    EfficientAttentionBackward0 query key
    FlashAttentionBackward0 query key
    ScaledDotProductCudnnAttentionBackward0 query key
    ScaledDotProductEfficientAttentionBackward0 query key
    ScaledDotProductFlashAttentionBackward0 query key
    ScaledDotProductFusedAttentionOverrideableBackward0 query key
"""

_VALUES = """
    CudnnAttentionBackward0 value output
    EfficientAttentionBackward0 value output
    FlashAttentionBackward0 value output
    ScaledDotProductCudnnAttentionBackward0 value output
    ScaledDotProductEfficientAttentionBackward0 value output
    ScaledDotProductFlashAttentionBackward0 value output
    ScaledDotProductFusedAttentionOverrideableBackward0 value output
"""

_LOGSUMEXPS = """
    CudnnAttentionBackward0 logsumexp
    EfficientAttentionBackward0 logsumexp
    FlashAttentionBackward0 softmax_logsumexp
    ScaledDotProductCudnnAttentionBackward0 logsumexp
    ScaledDotProductEfficientAttentionBackward0 log_sumexp
    ScaledDotProductFlashAttentionBackward0 logsumexp
    ScaledDotProductFlashAttentionForCpuBackward0 logsumexp
    ScaledDotProductFusedAttentionOverrideableBackward0 logsumexp
"""

_BIASES = """
    CudnnAttentionBackward0 attn_bias
    EfficientAttentionBackward0 bias
    ScaledDotProductCudnnAttentionBackward0 attn_bias
    ScaledDotProductEfficientAttentionBackward0 attn_bias
    ScaledDotProductFlashAttentionForCpuBackward0 attn_mask
    ScaledDotProductFusedAttentionOverrideableBackward0 attn_bias
"""

_INDICES = """
    CudnnAttentionBackward0 cum_seq_q cum_seq_k philox_seed philox_offset
    EfficientAttentionBackward0 cu_seqlens_q cu_seqlens_k philox_seed philox_offset
    FlashAttentionBackward0 cum_seq_q cum_seq_k rng_state unused
    ScaledDotProductCudnnAttentionBackward0 cum_seq_q cum_seq_k philox_seed philox_offset
    ScaledDotProductEfficientAttentionBackward0 philox_seed philox_offset
    ScaledDotProductFlashAttentionBackward0 cum_seq_q cum_seq_k rng_state unused
    ScaledDotProductFusedAttentionOverrideableBackward0 cum_seq_q cum_seq_k philox_seed philox_offset
"""

_RECURRENT = """
    CudnnRnnBackward0 input weight hx cx dropout_state result0 result3 result4
    LstmMpsBackward0 input hx params result3 result4 result5
    MiopenRnnBackward0 input weight hx cx dropout_state result0 result3 result4
    MkldnnRnnLayerBackward0 input weight0 weight1 weight2 weight3 hx_ cx_ result0 result1 result2 result3
    ThnnFusedGruCellBackward0 input_gates hidden_gates hx input_bias hidden_bias result1
    ThnnFusedLstmCellBackward0 input_gates hidden_gates cx input_bias hidden_bias result1 result2
"""

_CPU = "ScaledDotProductFlashAttentionForCpuBackward0"
FUSED = merged(
    entries(_keys, f"{_CPU} query key"),
    entries(_values, f"{_CPU} value"),
    entries(_output, f"{_CPU} output"),
    entries(score_need, _SCORES),
    entries(value_need, _VALUES),
    entries(exact("logsumexp"), _LOGSUMEXPS),
    entries(exact("added to the scores"), _BIASES),
    entries(exact("index"), _INDICES),
    entries(exact("recurrent kernel"), _RECURRENT),
)
