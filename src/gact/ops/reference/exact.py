"""The exact codes in plain torch: masks and integers. See ``docs/codes.md``, "Exact codes"."""

from __future__ import annotations

import torch
from torch import Tensor

from .. import checks
from .bits import memory_order, pack_rows, split_groups, unpack_rows

_WORDS = {16: torch.int16, 32: torch.int32}


def _dense(x: Tensor) -> Tensor:
    """The elements in memory order, of a dense copy if there are gaps or overlaps."""
    return memory_order(x if checks.is_dense(x.shape, x.stride()) else x.clone())


def _pack(codes: Tensor, bits: int) -> Tensor:
    """Codes of any integer dtype to bytes; higher bits are ignored."""
    if bits in _WORDS:
        words = torch.nn.functional.pad(codes.to(torch.int64), (0, -codes.numel() % checks.PADDING))
        narrow: Tensor = words.to(_WORDS[bits])
        return narrow.view(torch.uint8)
    rows = split_groups(codes.to(torch.uint8), checks.EXACT_GROUP)
    packed = [pack_rows(row, bits).flatten() for row, _ in rows]
    return torch.cat(packed) if packed else codes.new_empty(0, dtype=torch.uint8)


def _unpack(packed: Tensor, bits: int, numel: int) -> Tensor:
    """The inverse of ``_pack``, as int64."""
    checks.check_bytes(packed, "codes", checks.code_bytes(numel, bits))
    if bits in _WORDS:
        # A view needs aligned memory; a copy has it.
        words: Tensor = packed.clone().view(_WORDS[bits])[:numel].to(torch.int64)
        return words.bitwise_and_(2**bits - 1)
    codes = packed.new_empty(numel)
    done = 0
    for rows, _ in split_groups(codes, checks.EXACT_GROUP):
        count, length = rows.shape
        size = checks.code_bytes(length, bits)
        rows.copy_(unpack_rows(packed[done : done + count * size].view(count, size), bits, length))
        done += count * size
    return codes.to(torch.int64)


def _scalar(value: float, dtype: torch.dtype, device: torch.device) -> Tensor:
    """A number in a dtype, the halves by way of float32; infinite where it is too large."""
    number = torch.tensor(value, dtype=torch.float64)
    rounded = (number if dtype in (torch.float64, torch.bool) else number.float()).to(dtype)
    # A copy to a device would wait for it.
    return rounded if device.type == "cpu" else torch.full((), rounded.item(), dtype=dtype, device=device)


@torch.no_grad()
def encode_mask(x: Tensor, low: float, high: float) -> Tensor:
    """One bit per element: whether ``low < x < high``. NaN gives 0.

    Args:
        x: Any strided tensor of a dtype in ``checks.MASK_DTYPES``; True counts as 1 and False as 0.
        low: Bound below, exclusive, rounded to the dtype of ``x`` (not for bool); ``-inf`` for none.
        high: Bound above, exclusive, rounded likewise; ``inf`` for none.

    Returns:
        The bits in memory order, uint8 ``[code_bytes(numel, 1)]``.
    """
    checks.check_mask_dtype(x.dtype)
    flat = _dense(x)
    if flat.dtype == torch.bool:
        flat = flat.to(torch.float64)
    between = (flat > _scalar(low, flat.dtype, flat.device)) & (flat < _scalar(high, flat.dtype, flat.device))
    return _pack(between, 1)


@torch.no_grad()
def decode_mask_into(out: Tensor, codes: Tensor, off: float, on: float) -> None:
    """One of two values per bit into a dense tensor, in its memory order.

    Args:
        out: Dense tensor of a dtype in ``checks.MASK_DTYPES``.
        codes: As ``encode_mask`` returned them.
        off: Value of a bit that is 0, rounded to the dtype; for bool, whether it is not 0.
        on: Value of a bit that is 1, likewise.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_mask_dtype(out.dtype)
    checks.check_dense(out, "out")
    bits = _unpack(codes, 1, out.numel()).bool()
    one, zero = _scalar(on, out.dtype, out.device), _scalar(off, out.dtype, out.device)
    memory_order(out).copy_(torch.where(bits, one, zero))


@torch.no_grad()
def apply_mask_(x: Tensor, codes: Tensor, off: float, on: float) -> None:
    """Multiply a tensor by its mask, in place: by ``on`` where the bit is 1, else by ``off``.

    Where ``off`` is 0, an element whose bit is 0 becomes +0 whatever it was, NaN and infinity included.

    Args:
        x: Dense tensor of a dtype in ``checks.DTYPES``.
        codes: A mask with as many bits, in the memory order of ``x``.
        off: Factor of a bit that is 0, rounded to the dtype of ``x``.
        on: Factor of a bit that is 1, likewise.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_dtype(x.dtype)
    checks.check_dense(x, "x")
    bits = _unpack(codes, 1, x.numel()).bool()
    flat = memory_order(x)
    low, high = _scalar(off, x.dtype, x.device), _scalar(on, x.dtype, x.device)
    # Whether it is 0 is asked on the CPU: a device would have to be waited for.
    outside = flat * low if _scalar(off, x.dtype, torch.device("cpu")) else torch.zeros_like(flat)
    flat.copy_(torch.where(bits, flat * high, outside))


def encode_integers(x: Tensor, minimum: int, bits: int) -> Tensor:
    """Integers as unsigned offsets from ``minimum``, of ``bits`` bits each.

    The caller vouches for the range: of an integer outside of ``minimum .. minimum + 2**bits - 1`` only the lower
    bits of the offset are kept.

    Args:
        x: Any strided tensor of a dtype in ``checks.INTEGER_DTYPES``.
        minimum: The value of offset 0.
        bits: Width of an offset, one of ``checks.INTEGER_WIDTHS``.

    Returns:
        The offsets in memory order, uint8 ``[code_bytes(numel, bits)]``.
    """
    checks.check_integers(bits, x.dtype)
    return _pack(_dense(x).to(torch.int64) - minimum, bits)


def decode_integers_into(out: Tensor, codes: Tensor, minimum: int, bits: int) -> None:
    """The inverse of ``encode_integers`` into a dense tensor, in its memory order.

    Args:
        out: Dense tensor of a dtype in ``checks.INTEGER_DTYPES``.
        codes: As ``encode_integers`` returned them.
        minimum: As given to ``encode_integers``.
        bits: As given to ``encode_integers``.

    Raises:
        ValueError: If the arguments do not fit together.
    """
    checks.check_integers(bits, out.dtype)
    checks.check_dense(out, "out")
    memory_order(out).copy_(_unpack(codes, bits, out.numel()) + minimum)


KERNELS = (
    encode_mask,
    decode_mask_into,
    apply_mask_,
    encode_integers,
    decode_integers_into,
)
