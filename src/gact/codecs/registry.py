"""The codes that are tried for every region of values, and how to add one."""

from __future__ import annotations

from collections.abc import Callable, Collection

from torch import Tensor

from .columns import by_columns
from .transformed import add_part
from .transforms import Transform, row_scaled

Form = Callable[[Tensor, int], Transform | None]
"""Makes the transform of a region for groups of some size; None if it does not suit that region."""

_OF_A_TRANSFORM = ("name", "rounding", "parts", "nbytes", "line", "lines", "values", "forward", "inverse")

CODECS: dict[str, Form] = {"columns": by_columns, "rows": row_scaled}
"""Forms by name, in the order in which they are tried; a region that none suits is quantized as it is."""


def register_codec(name: str, form: Form, *, parts: tuple[str, ...] = ()) -> None:
    """Adds a code of values: groups of what a transform makes of a region. It is tried before those that are there.

    What a node calls for itself (probabilities for softmax, a slope for sine) goes before all of them.

    Args:
        name: What it is called; a name that is taken is replaced.
        form: Makes the ``Transform`` of a region, given the elements of a group; None if it does not suit the region.
            The transform must be undone exactly, up to rounding, and linear, so that values stay right on average.
        parts: Names of the attributes of the transform that hold tensors, which a store may move.

    Raises:
        TypeError: If the form cannot be called.
        ValueError: If the name is empty, or a part is called like something that every code has; from the forward pass,
            if what the form makes is no transform.

    Example:
        >>> gact.register_codec("pairs", lambda region, group_size: Pairs() if region.numel() % 2 == 0 else None)
    """
    if not isinstance(name, str) or not name:
        raise ValueError(f"register_codec() got the name {name!r}; it must be a word")
    if not callable(form):
        raise TypeError(
            f"register_codec({name!r}) got {form!r}; the form must be a function of a region and a group size"
        )
    for part in parts:
        add_part(part)
    others = {known: each for known, each in CODECS.items() if known != name}
    CODECS.clear()
    CODECS.update({name: form, **others})


def suited(region: Tensor, group_size: int, but: Collection[Form] = ()) -> Transform | None:
    """The transform of the first form that suits a region; None if the region is to be quantized as it is.

    Args:
        region: A dense region of a float dtype.
        group_size: Elements of a group.
        but: Forms that are known not to suit it.

    Raises:
        ValueError: If a form makes something else.
    """
    for name, form in CODECS.items():
        transform = None if form in but else form(region, group_size)
        if transform is not None:
            _check(name, transform)
            return transform
    return None


def _check(name: str, transform: object) -> None:
    """Raises if what a form has made is no transform."""
    lacks = [each for each in _OF_A_TRANSFORM if not hasattr(transform, each)]
    if lacks or isinstance(transform, type):
        # Tensor's operators would replace a TypeError by one of their own.
        raise ValueError(
            f"the form of register_codec({name!r}) returned {transform!r}; it must return a gact.codecs.Transform, an "
            f"object with {', '.join(_OF_A_TRANSFORM)}, or None" + (f"; it lacks {', '.join(lacks)}" if lacks else "")
        )
