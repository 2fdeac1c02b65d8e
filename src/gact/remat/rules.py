"""Which ops make tensors that can be rebuilt, and how each is run again.

An op is run again on decoded sources, without autograd, under the autocast of the forward pass, and without touching
any state: normalisations use the exact statistics of the forward pass, ReLU and dropout their exact masks, so that
what is rebuilt has the right expectation where the op is linear in its source. Where it is a curve, ``curvature.py``
sees to that; a kink is not rebuilt from narrow codes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..autograd.internals import CURVES
from ..codecs.lines import NORMS, Lines
from ..operators.forms import BENT
from ..records import argument
from .arguments import Slot, filled, run, run_over, template
from .gathers import GATHERS, taken, takes_elements
from .powers import POWERS, is_whole
from .shrunk import slope_of

_LINEAR = """
    add sub subtract neg __rsub__ rsub to float half bfloat16 double type type_as contiguous clone pad
"""
_KINDS = {
    "linear": _LINEAR.split(),
    "joined": ["cat", "concat", "concatenate"],
    "gathered": [*GATHERS, "__getitem__"],
    "product": ["mul", "multiply"],
    "curve": ["gelu", "silu", "mish", "elu", "celu", "softplus", "sigmoid", "tanh", *POWERS],
    "kink": ["selu", "hardswish", "hardsigmoid", "leaky_relu", "relu6", "hardtanh"],
}
_INPLACE = {"add_": "add", "__iadd__": "add", "mul_": "mul", "__imul__": "mul", "sub_": "sub", "__isub__": "sub"}
_MASKED = "relu relu_ dropout relu6 hardtanh leaky_relu"


def _functions(names: Iterable[str]) -> dict[Callable[..., Any], str]:
    """The functions of torch that have these names, as a function mode sees them.

    NOTE: Functions, not names
    Others have functions of these names too, with arguments of their own. ``torch.batch_norm`` is one: it takes the
    statistics where ``torch.nn.functional.batch_norm`` takes weight and bias, so norms are those of the latter alone.
    """
    owners = (torch.nn.functional, torch, Tensor)
    return {getattr(owner, name): name for name in names for owner in owners if hasattr(owner, name)}


_KIND = {name: kind for kind, names in _KINDS.items() for name in names}
POINTWISE = _functions(_KIND)
"""Ops that are run again as they are; none of them draws random numbers or changes state."""

INPLACE = {function: _INPLACE[name] for function, name in _functions(_INPLACE).items()}
"""Ops that overwrite their input, and the op that is run again in their place."""

MASKED = _functions(_MASKED.split())
"""Ops whose result is their input times a mask that they save, or a bound."""

BENT_BY = {function: name for function, name in POINTWISE.items() if name in BENT}
"""Functions that are right on average of codes in the form that bears their name."""

SAVING_RESULTS = frozenset(function for function, name in POINTWISE.items() if name in ("sigmoid", "tanh"))
"""Functions whose own node saves what they give, which is rebuilt if what they read is held."""

SCALING = frozenset(function for function, name in POINTWISE.items() if name in ("mul", "multiply", "neg"))
"""Functions that may multiply a tensor by a number: its values may be held for another reader later."""

_STATED: dict[Callable[..., Any], tuple[Callable[..., Tensor], str]] = {}
"""Custom ops with what makes their result and their kind: see ``registry.py``."""

_NORMS = {getattr(torch.nn.functional, name): name for name in NORMS}


@dataclass(frozen=True, slots=True)
class Rebuild:
    """How an op is run again on the values of its sources.

    Attributes:
        make: Makes the result from the values of the sources, then the two statistics.
        overwrite: Makes the same in the memory of the first source, which has its size and dtype; None if the op
            cannot.
        masked: Whether the result is the first source times the second, a mask; ``make`` is not used then.
        factors: What the first source is multiplied by where the mask's bit is 0 and where it is 1, if not by what the
            mask stands for.
        high: What the result is where it reached an upper bound; a last source tells where. None without such a bound.
        adds: Whether it is the sum of two sources.
        casts: Whether it is the first source in another dtype.
        lines: Factors and shifts that make it of the first source, from the layout and the other sources; None if it
            is not made so.
        kind: ``"linear"``, in all sources at once, whatever is exact; ``"joined"``, which is linear too, of sources
            next to each other; ``"gathered"``, of elements of one source in other places; ``"product"``; ``"curve"``, a
            smooth function of each element; ``"kink"``, one whose slope jumps.
        slope: How steep the op is at most, if its result may lie in a far smaller range than its sources; 0 if not.
        stated: The function that a user has stated, which must see tensors of the sizes that its op saw; None if the
            rule is one of this package, whose curves can be run on any part of a tensor.
    """

    make: Callable[..., Tensor]
    overwrite: Callable[..., Tensor] | None = None
    masked: bool = False
    factors: tuple[float, float] | None = None
    high: float | None = None
    adds: bool = False
    casts: bool = False
    lines: Callable[..., Lines | None] | None = None
    kind: str = "linear"
    slope: float = 0.0
    stated: Callable[..., Tensor] | None = None

    @property
    def passes(self) -> bool:
        """Whether it may be part of one pass over codes."""
        return (self.masked and self.factors is None) or self.adds or self.casts or self.lines is not None


@dataclass(frozen=True, slots=True)
class Making:
    """How a result is made.

    Attributes:
        rebuild: How the op is run again.
        sources: The tensors among the arguments.
        statistics: Whether the mean and the reciprocal deviation that the op saved are two more sources.
        inplace: Whether the result overwrites the first source.
    """

    rebuild: Rebuild
    sources: list[Tensor]
    statistics: bool = False
    inplace: bool = False


def making(func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Making | None:
    """How the result of this call can be made again; None if it cannot.

    Args:
        func: The op.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """
    if func in _STATED:
        return _stated(*_STATED[func], args, kwargs)
    if func in MASKED:
        return _masked(MASKED[func], func, args, kwargs)
    if func in POINTWISE:
        return _pointwise(POINTWISE[func], func, args, kwargs)
    if func in INPLACE:
        name = INPLACE[func]
        return _pointwise(name, getattr(Tensor, name), args, kwargs, inplace=True)
    name = _NORMS[func]
    affine = [argument((args, kwargs), position, key, None) for position, key in _AFFINE[name]]
    if affine[0] is None and affine[1] is not None:
        return None
    norm, lines = NORMS[name]
    if name == "group_norm":
        groups = argument((args, kwargs), 1, "num_groups", None)
        norm, lines = partial(norm, groups), partial(lines, groups)
    rebuild = Rebuild(partial(norm, None), partial(_norm_over, norm), lines=lines)
    return Making(rebuild, [args[0], *(tensor for tensor in affine if tensor is not None)], statistics=True)


def state(func: Callable[..., Any], make: Callable[..., Tensor], kind: str) -> None:
    """Adds the rule of a custom op.

    Args:
        func: The op, as a function mode sees it.
        make: Makes its result from its own arguments.
        kind: As of ``Rebuild``.
    """
    _STATED[func] = (make, kind)
    DERIVABLE.add(func)


def _stated(make: Callable[..., Tensor], kind: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Making:
    sources: list[Tensor] = []
    positional = [template(value, sources) for value in args]
    named = {name: template(value, sources) for name, value in kwargs.items()}
    return Making(Rebuild(partial(run, make, positional, named), kind=kind, stated=make), sources)


def _masked(name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Making | None:
    """How an op makes its result that saves on which side of a bound its input lies, or what was dropped."""
    given = (args, kwargs)
    inplace = name.endswith("_") or bool(argument(given, _PLACE_OF_INPLACE.get(name, 1), "inplace", False))
    rebuild = _MASK
    if name == "leaky_relu":
        rebuild = Rebuild(torch.mul, masked=True, factors=(float(argument(given, 1, "negative_slope", 0.01)), 1.0))
    elif name in ("relu6", "hardtanh"):
        relu6 = name == "relu6"
        low = 0.0 if relu6 else argument(given, 1, "min_val", -1.0)
        high = 6.0 if relu6 else argument(given, 2, "max_val", 1.0)
        if low != 0 or not high > 0:
            return None if inplace else _pointwise(name, func, args, kwargs)
        rebuild = Rebuild(torch.mul, masked=True, factors=(0.0, 1.0), high=float(high))
    return Making(replace(rebuild, slope=slope_of(name, rebuild.kind, 1)), [args[0]], inplace=inplace)


_PLACE_OF_INPLACE = {"dropout": 3, "hardtanh": 3, "leaky_relu": 2}


def _pointwise(
    name: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], inplace: bool = False
) -> Making | None:
    if kwargs.get("inplace") or "out" in kwargs:
        return None
    if name == "__getitem__":
        return _taken(*args) if takes_elements(*args) else None
    if name in POWERS and not is_whole(argument((args, kwargs), 1, "exponent", 2)):
        return None
    sources: list[Tensor] = []
    positional = [template(value, sources) for value in args]
    named = {name: template(value, sources) for name, value in kwargs.items() if name != "inplace"}
    overwrite = None
    if name in _WITH_OUT and isinstance(positional[0], Slot):
        # What has a kernel of its own has no argument that asks for the memory of the first source.
        overwrite = partial(run_over, _WITH_OUT[name], [each for each in positional if type(each) is not bool], named)
    make = partial(run, func, positional, named)
    bare = not named and len(positional) == len(sources)
    adds, casts = bare and name == "add" and len(sources) == 2, bare and name in _CASTS
    kind = "kink" if _is_sharp(name, args, kwargs) else _KIND[name]
    slope = slope_of(name, kind, len(sources))
    return Making(Rebuild(make, overwrite, adds=adds, casts=casts, kind=kind, slope=slope), sources, inplace=inplace)


def _taken(source: Tensor, index: Any) -> Making:
    """How elements are taken from a tensor by tensors of indices."""
    indices: list[Tensor] = []
    places = template(index if isinstance(index, tuple) else (index,), indices)
    return Making(Rebuild(partial(taken, partial(filled, places)), kind="gathered", slope=1.0), [source, *indices])


def _is_sharp(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a curve has a kink, or bends as sharply as one, because of its arguments."""
    if name not in _ROUNDNESS:
        return False
    parameter, is_round = _ROUNDNESS[name]
    return not is_round(argument((args, kwargs), 1, parameter, 1.0))


_ROUNDNESS: dict[str, tuple[str, Callable[[float], bool]]] = {
    "elu": ("alpha", lambda alpha: alpha == 1),
    "celu": ("alpha", lambda alpha: alpha >= 1),
    "softplus": ("beta", lambda beta: 0 < beta <= 1),
}
"""The parameter of a curve that tells how sharply it bends, and for which values it does not."""


_CASTS = frozenset({"float", "half", "bfloat16"})
"""Ops that change the dtype and nothing else."""

_MASK = Rebuild(torch.mul, masked=True)

_WITH_OUT: dict[str, Callable[..., Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "subtract": torch.sub,
    "mul": torch.mul,
    "multiply": torch.mul,
    **CURVES,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
}
"""Ops that can write into the memory of their first source, and take their arguments in the same places."""


def _norm_over(norm: Callable[..., Tensor], source: Tensor, *rest: Tensor) -> Tensor:
    return norm(source, source, *rest)


_AFFINE = {
    "layer_norm": ((2, "weight"), (3, "bias")),
    "batch_norm": ((3, "weight"), (4, "bias")),
    "group_norm": ((2, "weight"), (3, "bias")),
}

OVERWRITING = frozenset(MASKED) | frozenset(INPLACE)
"""Ops that may write their result into their input, or are recognised by the mask they save."""

DERIVABLE: set[Callable[..., Any]] = {*POINTWISE, *OVERWRITING, *_NORMS}
"""All ops that have a rule."""
