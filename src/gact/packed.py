"""What a pack hook hands to autograd: it owns its data, and unpacks as often as autograd asks.

NOTE: In-place changes
Plain autograd raises when a saved tensor was changed in place before backward; with hooks that check is gone. A kept
tensor shares its memory with the network, so its version is compared here. A copy or a code holds the values of the
forward pass, so its gradient is right whatever happened since.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .layout import Layout
from .records import Decision
from .steps import Step


class Code(Protocol):
    """A dense region in some code; one file each under ``codecs/``."""

    name: str
    bits: int

    @property
    def nbytes(self) -> int:
        """Bytes held, metadata included."""
        ...

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        ...


class Kept:
    """A tensor left alone. It returns itself, or raises if it was changed in place since.

    Args:
        tensor: The tensor as saved; a non-leaf must be detached, since an output that holds its own node is never
            freed.
        step: The step it belongs to.
    """

    __slots__ = ("step", "tensor", "version")

    def __init__(self, tensor: Tensor, step: Step | None) -> None:
        self.tensor = tensor
        self.version = tensor._version
        self.step = step

    def unpack(self) -> Tensor:
        """The tensor itself."""
        tensor = self.tensor
        if tensor._version != self.version:
            raise RuntimeError(
                "one of the variables needed for gradient computation has been modified by an inplace operation: "
                f"[{tensor.type()} {list(tensor.shape)}] is at version {tensor._version}; "
                f"expected version {self.version} instead. "
                "gact kept this tensor as it is. Clone it before the in-place change."
            )
        return tensor


class Copied:
    """A small exact copy, made where the view that autograd saved would have kept a large storage alive.

    Args:
        tensor: The view as saved.
        step: The step it belongs to.
    """

    __slots__ = ("step", "stride", "tensor")

    def __init__(self, tensor: Tensor, step: Step | None) -> None:
        self.tensor = tensor.detach().clone()
        self.stride = tensor.stride()
        self.step = step

    def unpack(self) -> Tensor:
        """A fresh tensor with the size and stride of the view."""
        tensor = self.tensor
        if tensor.stride() == self.stride:
            return tensor.clone()
        return tensor.new_empty_strided(tensor.size(), self.stride).copy_(tensor)


class Encoded:
    """One region as codes, shared by every save of the same region of the same storage at the same version.

    Args:
        code: The codes.
        source: The storage, held weakly: it keeps the storage's address from being reused, and none of its memory.
    """

    __slots__ = ("__weakref__", "code", "source")

    depth = 0

    def __init__(self, code: Code, source: StorageWeakRef) -> None:
        self.code = code
        self.source = source

    @property
    def bits(self) -> int:
        """Width of its code."""
        return self.code.bits

    @property
    def decision(self) -> Decision:
        """Its codec and width."""
        return Decision.code(self.code.name, self.code.bits)

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout, which must have the region of these codes."""
        return layout.restore(self.code.decode(layout.dense, layout.region_stride))


class Held(Protocol):
    """A region that can be given back: held as codes, or rebuilt from others that are.

    Attributes:
        bits: Width of the narrowest code that its values come from.
        depth: How many recipes lie between it and codes.
        decision: What the report says of it.
    """

    @property
    def bits(self) -> int:  # noqa: D102
        ...

    @property
    def depth(self) -> int:  # noqa: D102
        ...

    @property
    def decision(self) -> Decision:  # noqa: D102
        ...

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        ...


class Packed:
    """One saved tensor: what is held for its region and the layout of this save.

    Args:
        held: What gives the region back.
        layout: Size and stride of the saved tensor.
        step: The step it belongs to.
    """

    __slots__ = ("held", "layout", "step")

    def __init__(self, held: Held, layout: Layout, step: Step) -> None:
        self.held = held
        self.layout = layout
        self.step = step

    def unpack(self) -> Tensor:
        """A fresh tensor with the size, stride, dtype and device of the saved one."""
        return self.held.decode(self.layout)


def unpack(packed: Kept | Copied | Packed) -> Tensor:
    """The unpack hook of every compressor."""
    return packed.unpack()
