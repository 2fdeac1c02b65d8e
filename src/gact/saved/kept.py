"""What stays as it is: a tensor itself, or a copy of a small part of a large one.

NOTE: In-place changes
Plain autograd raises when a saved tensor was changed in place before backward; with hooks that check is gone. A kept
tensor shares its memory with the network, so its version is compared here, and a small copy is treated alike. A code
holds the values of the forward pass, so its gradient is right whatever happened since.
"""

from __future__ import annotations

from torch import Tensor

from ..autograd.internals import StorageWeakRef
from ..codecs.exact import changed_in_place
from ..codecs.layout import region_of
from .encoded import Encoded
from .steps import Step


class Kept:
    """A tensor left alone. It returns itself, or raises if it was changed in place since.

    Args:
        tensor: The tensor as saved.
        step: The step it belongs to.
        region: Its region, by which others share it; alive as long as this is.
        version: Its version when it was saved, if that is not the one it has.
    """

    __slots__ = ("region", "step", "tensor", "version")

    def __init__(
        self, tensor: Tensor, step: Step | None, region: Encoded | None = None, version: int | None = None
    ) -> None:
        # Only a leaf comes back as itself: an output that holds its own node would never be freed.
        self.tensor = tensor if tensor.is_leaf else tensor.detach()
        self.version = tensor._version if version is None else version
        self.step = step
        self.region = region

    def unpack(self) -> Tensor:
        """The tensor itself."""
        tensor = self.tensor
        if tensor._version != self.version:
            raise changed_in_place(tensor, tensor.shape, self.version)
        return tensor


class Watch:
    """The version of a tensor without its memory.

    Args:
        tensor: The tensor to watch.
    """

    __slots__ = ("alias", "shape", "version")

    def __init__(self, tensor: Tensor) -> None:
        # A detached tensor shares the version counter; pointing it at nothing lets go of the memory.
        self.alias = tensor.detach()
        self.shape = tensor.shape
        self.version = tensor._version
        self.alias.data = self.alias.new_empty(0)

    def check(self) -> None:
        """Raises if the tensor was changed in place since."""
        if self.alias._version != self.version:
            raise changed_in_place(self.alias, self.shape, self.version)


class Copied:
    """A small exact copy, made where holding the tensor itself would keep a large storage alive.

    Args:
        tensor: The tensor as saved.
        step: The step it belongs to; without one the copy is a source of rebuilt tensors.
        watched: Whether a change of the tensor since is an error, as in plain training.
    """

    __slots__ = ("__weakref__", "_charged", "_copy", "_layout", "_watch", "source", "step")

    def __init__(self, tensor: Tensor, step: Step | None, watched: bool = True) -> None:
        located = region_of(tensor)
        region = tensor if located is None else located[0]
        self._layout = None if located is None else located[1]
        self._copy = region.detach().clone()
        self.source = StorageWeakRef(tensor.untyped_storage())
        self._watch = Watch(tensor) if watched and step is not None else None
        self._charged = False
        self.step = step

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self._copy.nbytes)

    def charge(self) -> int:
        """Its bytes the first time it is asked, 0 afterwards."""
        charged, self._charged = self._charged, True
        return 0 if charged else self.nbytes

    def unpack(self) -> Tensor:
        """A fresh tensor with the size and stride of the one that was copied."""
        if self._watch is not None:
            self._watch.check()
        copy = self._copy.clone()
        return copy if self._layout is None else self._layout.restore(copy)


def is_part(tensor: Tensor, min_bytes: int) -> bool:
    """Whether keeping a tensor would keep a storage that is much larger."""
    return tensor._is_view() and tensor.untyped_storage().nbytes() > max(min_bytes, 4 * tensor.nbytes)
