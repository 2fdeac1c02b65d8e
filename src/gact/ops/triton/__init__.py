"""The operators on CUDA and ROCm devices, written in Triton.

* ``groups``, ``exact``: the operators. ``launch``: what calls the kernels.
* ``quantize``, ``dequantize``, ``rebuild``, ``masks``, ``integers``: the kernels.
* ``elements``, ``fields``, ``random``, ``tiles``: what the kernels have in common.

Registering them imports nothing: a process that never touches a GPU never imports Triton. The first operator on a
device does, and says so if it cannot.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from ...errors import GactWarning
from .. import schema
from ..reference import exact as reference_exact
from ..reference import groups as reference
from ..reference import rebuild as reference_rebuild

_GROUP_CODE = (reference.quantize, reference.dequantize, reference.dequantize_into)
_REFERENCE = {
    kernel.__name__: kernel for kernel in (*_GROUP_CODE, *reference_exact.KERNELS, *reference_rebuild.KERNELS)
}
NAMES = tuple(_REFERENCE)
"""Operators that have kernels here; the others run in plain torch."""


@functools.cache
def kernels() -> Mapping[str, Callable[..., Any]]:
    """The operators by name: these of Triton, or with a warning those of plain torch if Triton is missing."""
    try:
        from . import exact, groups
    except ImportError as error:
        warnings.warn(
            f"gact: the kernels for GPUs need Triton, which does not load ({error}). Plain torch runs instead: the "
            "same numbers, many times slower. Install it with `pip install triton`.",
            GactWarning,
            stacklevel=2,
        )
        return MappingProxyType(_REFERENCE)
    return MappingProxyType({kernel.__name__: kernel for kernel in (*groups.KERNELS, *exact.KERNELS)})


def register() -> None:
    """Make these functions the kernels of CUDA devices, as which torch counts those of ROCm."""
    for name in NAMES:
        schema.LIBRARY.impl(name, functools.partial(_call, name), "CUDA")


def _call(name: str, *arguments: Any, **named: Any) -> Any:
    return kernels()[name](*arguments, **named)
