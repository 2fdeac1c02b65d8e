"""What is made of decoded elements, in plain torch: lines, a sum, a mask. See ``docs/codes.md``, "Rebuilding"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .. import checks
from .bits import memory_order
from .exact import decode_mask_into
from .groups import dequantize_into


@torch.no_grad()
def rebuild_into(
    out: Tensor,
    codes: Tensor,
    metadata: Tensor,
    bits: int,
    group_size: int,
    seed: int,
    lines: Sequence[Tensor],
    inner: Sequence[int],
    mask: Tensor | None,
    on: float,
    add: bool,
) -> None:
    """Decode, apply lines, add what is there, apply a mask; in float32, rounded once, in memory order.

    Args:
        out: Dense tensor of a dtype in ``checks.REBUILT_DTYPES`` with as many elements as were quantized.
        codes: As ``quantize`` returned them.
        metadata: As ``quantize`` returned it, for a tensor that was not float64.
        bits: As given to ``quantize``.
        group_size: As given to ``quantize``.
        seed: As given to ``quantize``; read where groups are dithered.
        lines: At most two float32 tensors ``[2, channels]``, factors and shifts, applied one after the other.
        inner: For each of them the number of neighbours in one channel: the channel of element i is
            ``i // inner % channels``.
        mask: Bits of ``encode_mask`` for the elements of ``out``; where one is 0 the result is +0.
        on: Factor where the bit is 1, rounded to the dtype of ``out``.
        add: Add what ``out`` holds, before the mask.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_rebuild(out, codes, metadata, bits, group_size, lines, inner, mask)
    numel = out.numel()
    x = torch.empty(numel, device=out.device)
    dequantize_into(x, codes, metadata, bits, group_size, seed)
    if out.dtype == torch.float16:
        x = x.clamp(-65504.0, 65504.0)
    for line, neighbours in zip(lines, inner, strict=True):
        channel = torch.arange(numel, device=out.device) // neighbours % line.shape[1]
        x = x * line[0, channel] + line[1, channel]
    flat = memory_order(out)
    if add:
        x = x + flat.float()
    if mask is not None:
        factor = torch.tensor(on, dtype=torch.float64).float().to(out.dtype).item()
        inside = torch.empty(numel, dtype=torch.bool, device=out.device)
        decode_mask_into(inside, mask, 0.0, 1.0)
        x = torch.where(inside, x * factor, 0.0)
    flat.copy_(x)


def rebuild_sum_into(out: Tensor, *terms: Any) -> None:
    """``rebuild_into`` for one term after the other, each added to those before it.

    Args:
        out: As for ``rebuild_into``.
        *terms: The arguments of ``checks.terms_of_sum``.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    for term in checks.terms_of_sum(*terms):
        rebuild_into(out, *term)


KERNELS = (rebuild_into, rebuild_sum_into)
