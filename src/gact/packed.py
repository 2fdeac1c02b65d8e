"""What a pack hook hands to autograd: it owns its data, and unpacks as often as autograd asks.

NOTE: In-place changes
Plain autograd raises when a saved tensor was changed in place before backward; with hooks that check is gone. A kept
tensor shares its memory with the network, so its version is compared here. A copy or a code holds the values of the
forward pass, so its gradient is right whatever happened since.
"""

from __future__ import annotations

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .codecs.groups import Groups
from .layout import Layout
from .steps import Step


class Kept:
    """A tensor left alone. It returns itself, or raises if it was changed in place since.

    Args:
        tensor: The tensor as saved; a non-leaf must be detached, since an output that holds its own node is never
            freed.
        step: The step it belongs to.
    """

    __slots__ = ("step", "tensor", "version")

    def __init__(self, tensor: Tensor, step: Step) -> None:
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

    __slots__ = ("layout_source", "step", "tensor")

    def __init__(self, tensor: Tensor, step: Step) -> None:
        self.tensor = tensor.detach().clone()
        self.layout_source = tensor.stride()
        self.step = step

    def unpack(self) -> Tensor:
        """A fresh tensor with the size and stride of the view."""
        tensor = self.tensor
        if tensor.stride() == self.layout_source:
            return tensor.clone()
        return tensor.new_empty_strided(tensor.size(), self.layout_source).copy_(tensor)


class Encoded:
    """One region as codes, shared by every save of the same region of the same storage at the same version.

    Args:
        code: The codes.
        source: The storage, held weakly: it keeps the storage's address from being reused, and none of its memory.
    """

    __slots__ = ("__weakref__", "code", "source")

    def __init__(self, code: Groups, source: StorageWeakRef) -> None:
        self.code = code
        self.source = source


class Packed:
    """One saved tensor: shared codes and the layout of this save.

    Args:
        encoded: The codes of the region.
        layout: Size and stride of the saved tensor.
        step: The step it belongs to.
    """

    __slots__ = ("encoded", "layout", "step")

    def __init__(self, encoded: Encoded, layout: Layout, step: Step) -> None:
        self.encoded = encoded
        self.layout = layout
        self.step = step

    def unpack(self) -> Tensor:
        """A fresh tensor with the size, stride, dtype and device of the saved one."""
        layout = self.layout
        return layout.restore(self.encoded.code.decode(layout.dense, layout.region_stride))


def unpack(packed: Kept | Copied | Packed) -> Tensor:
    """The unpack hook of every compressor."""
    return packed.unpack()
