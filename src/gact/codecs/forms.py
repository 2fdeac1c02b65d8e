"""Which form of a region is quantized in groups: itself, its rows scaled, or what the node that saves it reads."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from .bent import Bent
from .boxed import boxed
from .boxes import GROUP, Boxes
from .columns import by_columns
from .groups import Groups
from .normalised import Normalised
from .probabilities import LogProbabilities, Probabilities, are_sharp
from .registry import Form, suited
from .slopes import Slope, is_needed
from .statistics import normalised_by
from .transformed import Transformed
from .transforms import Transform

__all__ = ["Form", "bent", "encode", "log_probabilities", "normalised_by", "probabilities", "quantized", "slope"]


def encode(region: Tensor, bits: int, group_size: int, seed: int, form: Form | None = None) -> Groups:
    """A region in group codes.

    Args:
        region: Tensor that is dense in memory, of a float dtype.
        bits: Width of a code, 1 to 8.
        group_size: Elements per group.
        seed: Key of the random stream.
        form: What its consumer reads of it; without one, or where that does not suit, the first of ``CODECS`` that
            suits is taken.
    """
    return quantized(region, bits, group_size, seed, form and form(region, group_size))


def quantized(
    region: Tensor, bits: int, group_size: int, seed: int, transform: Transform | None, plain: bool = False
) -> Groups:
    """A region in group codes, given the transform that a form has made for it, or None.

    Args:
        region: As for ``encode``, like the next three.
        bits: Width.
        group_size: Elements per group.
        seed: Key.
        transform: What was made for it.
        plain: Whether it is coded as it is where none was made: squares of plain codes are corrected in place.
    """
    transform = transform or (None if plain else suited(region, group_size))
    if not plain and (transform is None or isinstance(transform, Normalised)):
        # Under the statistics of a node, rows that are small count by what it divides them by.
        alike = transform is None or transform.nbytes > 0
        transform = boxed(region, group_size, transform, alike) or transform
    if transform is None:
        return Groups(region, bits, group_size, seed)
    return Transformed(region, bits, GROUP if isinstance(transform, Boxes) else group_size, seed, transform)


def log_probabilities(dim: int) -> Form:
    """The form of what log-softmax over a dimension gave: its backward reads the exponential."""
    return partial(_log_probabilities, dim)


def bent(name: str) -> Form:
    """The form of an argument of ``"gelu"``, ``"silu"`` or ``"mish"``: under a hyperbola, or channel by channel."""
    return partial(_bent, name)


def _bent(name: str, region: Tensor, group_size: int) -> Transform:
    transform = by_columns(region, group_size, much=True) or Bent(name)
    return boxed(region, group_size, transform, alike=False) or transform


def slope(name: str) -> Form:
    """The form of what a function is held as its slope for: ``"tanh"``, ``"sigmoid"``, ``"cosine"`` or ``"sine"``."""
    return partial(_slope, name)


def _slope(name: str, region: Tensor, group_size: int) -> Slope | None:
    return Slope(region, name) if is_needed(region, name) else None


def probabilities(dim: int) -> Form:
    """The form of what softmax over a dimension gave: the greatest are held aside where rows are sharp."""
    return partial(_probabilities, dim)


def _probabilities(dim: int, region: Tensor, group_size: int) -> Probabilities | None:
    single = region.dim() == 0 or region.shape[dim] == 1
    return Probabilities(region, dim, group_size) if not single and are_sharp(region, dim) else None


def _log_probabilities(dim: int, region: Tensor, group_size: int) -> LogProbabilities | None:
    single = region.dim() == 0 or region.shape[dim] == 1
    return None if single else LogProbabilities(region, dim, group_size)
