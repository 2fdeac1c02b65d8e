"""Fused attention and recurrent kernels.

NOTE: Large scores
Backward computes the probabilities again, as the exponential of scores less their exact logsumexp. At 8 bits a score is
off by about 0.7 % of ``|q| |k| scale / sqrt(d)``, which is harmless for scores of some tens and not beyond. So on a
CPU, where looking costs no waiting, queries and keys of large scores stay exact.
"""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.graph import Node

from ..autograd.internals import FakeTensor
from .need import VALUE, WIDE, Need, entries, exact, merged

_LARGEST = 5.0
"""Greatest ``|q| |k| scale / sqrt(d)`` of a head at which queries and keys of 8 bits will do."""
_LARGE = exact("scores are large")
_DECIDED = "gact scores"


def score_need(node: Node, tensor: Tensor) -> Need:
    """Queries and keys: 8 bits at least, or exact where some score may be large; the same for both."""
    if not tensor.is_cpu or type(tensor) is FakeTensor:
        return WIDE
    return _LARGE if _has_large_scores(node) else WIDE


def value_need(node: Node, tensor: Tensor) -> Need:
    """Values and results: what is read of them is a difference that almost cancels where scores are large."""
    if not tensor.is_cpu or type(tensor) is FakeTensor:
        return VALUE
    return _LARGE if _has_large_scores(node) else VALUE


def _has_large_scores(node: Node) -> bool:
    """Whether some score may be large, looked at once for a node."""
    known = cast(dict[str, bool], node.metadata)
    if _DECIDED not in known:
        known[_DECIDED] = _are_large(node)
    return known[_DECIDED]


def _are_large(node: Any) -> bool:
    custom = getattr(node, "_raw_saved_tensors", None)
    saved = custom[:2] if custom else (node._raw_saved_query, node._raw_saved_key)
    waiting = (getattr(each.data, "packed", each.data) for each in saved)
    query, key = (getattr(save, "tensor", None) for save in waiting)
    if query is None or key is None:
        return True  # one of the two is held already, by somebody else
    width = query.shape[-1]
    scale = getattr(node, "_saved_scale", None) or getattr(node, "scale", None) or 1 / math.sqrt(width)
    longest = [torch.linalg.vector_norm(each, dim=-1).amax(-1) for each in (query, key)]
    if longest[0].shape != longest[1].shape:  # heads that share their keys
        longest = [each.amax() for each in longest]
    return not float((longest[0] * longest[1]).amax()) * abs(scale) / math.sqrt(width) <= _LARGEST


_SCORES = """
    CudnnAttentionBackward0 query key
    EfficientAttentionBackward0 query key
    FlashAttentionBackward0 query key
    ScaledDotProductCudnnAttentionBackward0 query key
    ScaledDotProductEfficientAttentionBackward0 query key
    ScaledDotProductFlashAttentionBackward0 query key
    ScaledDotProductFlashAttentionForCpuBackward0 query key
    ScaledDotProductFusedAttentionOverrideableBackward0 query key
"""

_VALUES = """
    CudnnAttentionBackward0 value output
    EfficientAttentionBackward0 value output
    FlashAttentionBackward0 value output
    ScaledDotProductCudnnAttentionBackward0 value output
    ScaledDotProductEfficientAttentionBackward0 value output
    ScaledDotProductFlashAttentionBackward0 value output
    ScaledDotProductFlashAttentionForCpuBackward0 value output
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

FUSED = merged(
    entries(score_need, _SCORES),
    entries(value_need, _VALUES),
    entries(exact("logsumexp"), _LOGSUMEXPS),
    entries(exact("added to the scores"), _BIASES),
    entries(exact("index"), _INDICES),
    entries(exact("recurrent kernel"), _RECURRENT),
)
