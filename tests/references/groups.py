"""The step between neighbouring codes of every element, computed the slow way in float64."""

import math

import torch

LARGEST = 2.0**100


def round_to_bfloat16(value, up):
    """The nearest bfloat16 that is not below (``up``) or not above the value, as a float."""
    if value == 0.0:
        return 0.0
    step = 2.0 ** (math.floor(math.log2(abs(value))) - 7)
    return (math.ceil if up else math.floor)(value / step) * step


def scale(group, bits, up=round_to_bfloat16):
    """The scale of one group of floats."""
    low, high = min(group), max(group)
    if low == high:
        return 0.0
    return max(up((high - up(low, False)) / (2**bits - 1), True), 2.0**-100)


def scales(x, bits, group_size):
    """The scale that belongs to each element of a contiguous float32, float16 or bfloat16 tensor, in float64."""
    values = x.double().flatten().tolist()
    steps = []
    for start in range(0, len(values), group_size):
        group = values[start : start + group_size]
        steps += [scale(group, bits)] * len(group)
    return torch.tensor(steps, dtype=torch.float64).view(x.shape)


def widest_scale(x, bits):
    """A scale that no group of the tensor exceeds, however it is cut: that of all its elements as one group."""
    if not x.numel():
        return 0.0
    low, high = x.min().item(), x.max().item()
    # The minimum and the scale are rounded outward to the 8 significant bits of a bfloat16: by 2^-7 at most.
    reach = high - low + 2.0**-7 * max(abs(low), abs(high))
    return 0.0 if low == high else reach / (2**bits - 1) * (1 + 2.0**-7) + 2.0**-100


def rounding(x):
    """What storing in the tensor's dtype may add to the error of each element."""
    return torch.finfo(x.dtype).eps * x.abs().double() * 2 + torch.finfo(x.dtype).tiny
