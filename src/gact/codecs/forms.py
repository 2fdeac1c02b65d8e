"""Which form of a region is quantized in groups: itself, its rows scaled, or what the node that saves it reads."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from .bent import Bent
from .boxed import boxed, in_boxes
from .boxes import GROUP, Boxes
from .choice import Choice
from .columns import by_columns
from .groups import Groups
from .normalised import Normalised
from .probabilities import LogProbabilities, Probabilities, are_sharp
from .registry import Form, suited
from .slopes import Slope, is_needed
from .statistics import normalised_by
from .transformed import Transformed
from .transforms import Transform, row_scaled

__all__ = ["Bending", "Form", "encode", "log_probabilities", "normalised_by", "probabilities", "quantized", "slope"]


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
    region: Tensor,
    bits: int,
    group_size: int,
    seed: int,
    transform: Transform | None,
    plain: bool = False,
    choice: Choice | None = None,
) -> Groups:
    """A region in group codes, given the transform that a form has made for it, or None.

    Args:
        region: As for ``encode``, like the next three.
        bits: Width.
        group_size: Elements per group.
        seed: Key.
        transform: What was made for it.
        plain: Whether it is coded as it is where none was made: squares of plain codes are corrected in place.
        choice: What was chosen for the last region in its place, or is to be made.
    """
    if transform is None and not plain:
        transform = _values(region, group_size, choice or Choice())
    elif isinstance(transform, Normalised) and not plain:
        # Under the statistics of a node, rows that are small count by what it divides them by.
        transform = _in_boxes(region, group_size, transform, transform.nbytes > 0, choice or Choice())
    if transform is None:
        return Groups(region, bits, group_size, seed)
    return Transformed(region, bits, GROUP if isinstance(transform, Boxes) else group_size, seed, transform)


def _values(region: Tensor, group_size: int, choice: Choice) -> Transform | None:
    """The transform of values of which nobody has said how they are read."""
    if choice.grid is not None:
        but = (by_columns, row_scaled) if choice.has_columns else (by_columns,)  # as they come before scaled rows
        found = suited(region, group_size, but) or in_boxes(region, choice.grid, None, alike=True)
        if found is not None:
            return found
        choice.forget()
    transform = suited(region, group_size, () if choice.has_columns else (by_columns,))
    if transform is None or isinstance(transform, Normalised):
        return _in_boxes(region, group_size, transform, True, choice)
    return transform


def _in_boxes(
    region: Tensor, group_size: int, transform: Normalised | Bent | None, alike: bool, choice: Choice
) -> Transform | None:
    """Boxes if they have less noise than a transform, or the transform."""
    if choice.grid is not None:
        found = in_boxes(region, choice.grid, transform, alike)
        if found is not None:
            return found
        choice.forget()
    if choice.is_made:
        return transform
    found = boxed(region, group_size, transform, alike)
    choice.make(isinstance(transform, Normalised), None if found is None else found.grid)
    return found or transform


def log_probabilities(dim: int) -> Form:
    """The form of what log-softmax over a dimension gave: its backward reads the exponential."""
    return partial(_log_probabilities, dim)


class Bending:
    """The form of an argument of ``"gelu"``, ``"silu"`` or ``"mish"``: under a hyperbola, channel by channel, in boxes.

    Args:
        name: The function.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, region: Tensor, group_size: int, choice: Choice | None = None) -> Transform | None:
        """The transform of a region, given what was chosen for the last one in its place."""
        choice = choice or Choice()
        if choice.grid is not None:
            found = in_boxes(region, choice.grid, None if choice.has_columns else Bent(self._name), alike=False)
            if found is not None:
                return found
            choice.forget()
        columns = by_columns(region, group_size, much=True) if choice.has_columns else None
        return _in_boxes(region, group_size, columns or Bent(self._name), False, choice)


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
