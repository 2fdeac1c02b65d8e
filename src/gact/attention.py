"""Exact attention in chunks: the matrix of probabilities is never whole, neither in forward nor for backward.

NOTE: The formula
Softmax over the keys is computed chunk by chunk with a running maximum m and sum l (Rabe and Staats, "Self-attention
does not need O(n^2) memory", 2021): a new chunk of scores s rescales what was added up so far by exp(m_old - m_new).
Backward gets p = exp(s - logsumexp) of each chunk again from query and key, and with D = sum(grad * out)::

    dv = p^T grad        ds = p * (grad v^T - D)        dq = scale ds k        dk = scale ds^T q

so that only query, key, value, the output and one logsumexp for each row are held. A row whose keys are all masked
gives zeros, and no gradient.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_variadic

from .checks import check_count
from .operators.attention import score_need, value_need
from .operators.need import Chooser, Need, exact
from .operators.registry import state_needs

_HALVES = (torch.float16, torch.bfloat16)
_Grads = tuple[Tensor | None, ...]


class _Options(NamedTuple):
    """What all chunks share."""

    causal: bool
    scale: float
    chunk: int


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    chunk_size: int = 512,
) -> Tensor:
    """Softmax attention that holds no matrix of query times key, equal to the plain one up to the order of sums.

    Arguments are those of ``torch.nn.functional.scaled_dot_product_attention``.

    Memory is that of one chunk of ``chunk_size`` times ``chunk_size`` scores for each head, at the price of computing
    the scores again in backward. Half precision is summed in float32. Differentiating twice works, with whole matrices.

    Args:
        query: Shape [..., L, E].
        key: Shape [..., S, E]; leading dimensions are broadcast.
        value: Shape [..., S, V].
        attn_mask: Broadcastable to [..., L, S]: bool, True where a key takes part, or a float that is added to scores.
        dropout_p: Must be 0.
        is_causal: Whether query i takes part with keys 0 to i only.
        scale: Factor of the scores; ``1 / sqrt(E)`` by default.
        chunk_size: Rows and columns of a chunk.

    Returns:
        Shape [..., L, V], of the dtype of ``query``.

    Raises:
        ValueError: If shapes or dtypes do not fit, or dropout is wanted.
    """
    if has_torch_function_variadic(query, key, value):
        result: Tensor = handle_torch_function(
            attention,
            (query, key, value),
            query,
            key,
            value,
            attn_mask,
            dropout_p,
            is_causal,
            scale=scale,
            chunk_size=chunk_size,
        )
        return result
    if dropout_p:
        raise ValueError(
            f"dropout_p must be 0, got {dropout_p!r}: gact.attention has no dropout. Apply dropout to its result, or "
            "use torch.nn.functional.scaled_dot_product_attention."
        )
    chunk = check_count("chunk_size", chunk_size, 1)
    query, key, value = _aligned(query, key, value, attn_mask)
    factor = 1 / math.sqrt(query.shape[-1]) if scale is None else float(scale)
    out: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query, key, value, attn_mask, _Options(bool(is_causal), factor, chunk)
    )[0]
    return out


def _aligned(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """The three with the same leading dimensions, checked."""
    shapes = f"query {list(query.shape)}, key {list(key.shape)}, value {list(value.shape)}"
    if min(query.dim(), key.dim(), value.dim()) < 2 or not (
        query.shape[-1] == key.shape[-1] and key.shape[-2] == value.shape[-2]
    ):
        raise ValueError(f"shapes must be query [..., L, E], key [..., S, E] and value [..., S, V], got {shapes}.")
    if not query.dtype.is_floating_point or len({query.dtype, key.dtype, value.dtype}) > 1:
        raise ValueError(
            f"query, key and value must have one float dtype, got {query.dtype}, {key.dtype} and {value.dtype}. "
            "Cast them."
        )
    try:
        lead = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
        if mask is not None:
            whole = (*lead, query.shape[-2], key.shape[-2])
            if torch.broadcast_shapes(mask.shape, whole) != torch.Size(whole):
                raise RuntimeError
    except RuntimeError:
        other = "" if mask is None else f" and attn_mask {list(mask.shape)}"
        raise ValueError(f"leading dimensions must be broadcastable to each other, got {shapes}{other}.") from None
    if mask is not None and not (mask.dtype is torch.bool or mask.dtype.is_floating_point):
        raise ValueError(f"attn_mask must be bool (True: takes part) or float (added to the scores), got {mask.dtype}.")
    first, second, third = (each.expand(*lead, *each.shape[-2:]) for each in (query, key, value))
    return first, second, third


class _Attention(torch.autograd.Function):
    """Attention with chunks in both directions."""

    @staticmethod
    def forward(
        query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, options: _Options
    ) -> tuple[Tensor, Tensor]:
        high = torch.float32 if query.dtype in _HALVES else query.dtype
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        lse = torch.empty(query.shape[:-1], dtype=high, device=query.device)
        for rows in _chunks(query.shape[-2], options.chunk):
            q = query[..., rows, :].to(high)
            most = torch.full((*q.shape[:-1], 1), -math.inf, dtype=high, device=q.device)
            total, sums = torch.zeros_like(most), q.new_zeros(*q.shape[:-1], value.shape[-1])
            for columns in _columns(key.shape[-2], rows, options):
                scores = _scores(q, key, mask, rows, columns, options)
                new = torch.maximum(most, scores.amax(-1, keepdim=True))
                safe = new.masked_fill(new == -math.inf, 0)
                shrink, p = (most - safe).exp(), scores.sub_(safe).exp_()
                total = total * shrink + p.sum(-1, keepdim=True)
                sums = sums * shrink + p @ value[..., columns, :].to(high)
                most = new
            out[..., rows, :] = sums / total.masked_fill(total == 0, 1)
            lse[..., rows] = (most + total.log()).squeeze(-1)
        return out, lse

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        *tensors, mask, options = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, mask, *output)
        ctx.options, ctx.scale = options, options.scale

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Any) -> _Grads:
        query, key, value, mask, out, lse = ctx.saved_tensors
        needs = ctx.needs_input_grad
        if torch.is_grad_enabled():
            return (*_plain_gradients((query, key, value, mask), needs, grad, ctx.options), None)
        high = lse.dtype
        dq, dk, dv = (torch.zeros_like(each, dtype=high) for each in (query, key, value))
        dmask = torch.zeros_like(mask, dtype=high) if needs[3] else None
        for rows in _chunks(query.shape[-2], ctx.options.chunk):
            q, g = query[..., rows, :].to(high), grad[..., rows, :].to(high)
            difference = (g * out[..., rows, :].to(high)).sum(-1, keepdim=True)
            level = lse[..., rows].unsqueeze(-1)
            level = level.masked_fill(level == -math.inf, 0)
            for columns in _columns(key.shape[-2], rows, ctx.options):
                k, v = key[..., columns, :].to(high), value[..., columns, :].to(high)
                p = _scores(q, key, mask, rows, columns, ctx.options).sub_(level).exp_()
                dv[..., columns, :] += p.mT @ g
                ds = (g @ v.mT).sub_(difference).mul_(p)
                if dmask is not None:
                    part = _cut(dmask, rows, columns)
                    part += ds.sum_to_size(part.shape)
                dq[..., rows, :] += ds @ k * ctx.options.scale
                dk[..., columns, :] += ds.mT @ q * ctx.options.scale
        found = (dq, dk, dv, dmask)
        tensors = (query, key, value, mask)
        grads = [g.to(t.dtype) if need and g is not None else None for g, t, need in zip(found, tensors, needs)]  # noqa: B905
        return (*grads, None)


def _chunks(length: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def _columns(length: int, rows: slice, options: _Options) -> list[slice]:
    """The chunks of keys that some of these queries take part with."""
    return _chunks(min(length, rows.stop) if options.causal else length, options.chunk)


def _cut(mask: Tensor, rows: slice, columns: slice) -> Tensor:
    """The part of a mask that belongs to a chunk; dimensions of length 1 stay."""
    if mask.dim() >= 2 and mask.shape[-2] != 1:
        mask = mask[..., rows, :]
    return mask[..., columns] if mask.dim() and mask.shape[-1] != 1 else mask


def _scores(q: Tensor, key: Tensor, mask: Tensor | None, rows: slice, columns: slice, options: _Options) -> Tensor:
    """Scores of a chunk, masked; fresh memory."""
    scores = (q @ key[..., columns, :].to(q.dtype).mT).mul_(options.scale)
    if mask is not None:
        part = _cut(mask, rows, columns)
        scores = scores.masked_fill_(~part, -math.inf) if part.dtype is torch.bool else scores.add_(part)
    if options.causal and columns.stop > rows.start + 1:
        above = torch.arange(columns.start, columns.stop, device=q.device) > torch.arange(
            rows.start, rows.stop, device=q.device
        ).unsqueeze(-1)
        scores = scores.masked_fill_(above, -math.inf)
    return scores


def _plain_gradients(
    inputs: tuple[Tensor, Tensor, Tensor, Tensor | None], needs: tuple[bool, ...], grad: Tensor, options: _Options
) -> _Grads:
    """Gradients that can be differentiated again, by plain torch on whole matrices."""
    query, key, value, mask = inputs
    high = torch.float32 if query.dtype in _HALVES else query.dtype
    rows, columns = slice(0, query.shape[-2]), slice(0, key.shape[-2])
    scores = _scores(query.to(high), key, mask, rows, columns, options)
    nothing = scores.amax(-1, keepdim=True) == -math.inf
    p = scores.masked_fill(nothing, 0).softmax(-1).masked_fill(nothing, 0)
    out = (p @ value.to(high)).to(query.dtype)
    wanted = [tensor for tensor, need in zip(inputs, needs, strict=False) if need and tensor is not None]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True, materialize_grads=True))
    return tuple(next(found) if need else None for need in needs[:4])


_NEEDS: tuple[Need | Chooser, ...] = (score_need, score_need, value_need, exact("mask"), value_need, exact("logsumexp"))
state_needs(_Attention, {str(place): need for place, need in enumerate(_NEEDS)})
