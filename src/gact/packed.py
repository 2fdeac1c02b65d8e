"""What a pack hook hands to autograd: it owns its data, and unpacks as often as autograd asks.

NOTE: In-place changes
Plain autograd raises when a saved tensor was changed in place before backward; with hooks that check is gone. A kept
tensor shares its memory with the network, so its version is compared here, and a small copy is treated alike. A code
holds the values of the forward pass, so its gradient is right whatever happened since.
"""

from __future__ import annotations

import weakref
from typing import Protocol, cast

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef

from .autograd.inner import in_backward
from .codecs.exact import Exact, changed_in_place
from .codecs.groups import Groups
from .codecs.masks import Mask
from .layout import Layout, region_of
from .origins import EXACT, NARROW, Origin
from .passes import DTYPES, Decoded, Pass
from .records import Decision, Site
from .saved.save import Save
from .steps import Step


class Code(Protocol):
    """A dense region in some code; one file each under ``codecs/``."""

    name: str

    @property
    def bits(self) -> int:
        """Width of a code."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes held, metadata included."""
        ...

    @property
    def offloaded_bytes(self) -> int:
        """Bytes that lie in a store instead."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        ...

    def loaded(self) -> Code:
        """The code with its data on the device of the region, where it can be."""
        ...

    def decode(self, size: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
        """A fresh tensor of that size and dense stride."""
        ...


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
    """

    __slots__ = ("__weakref__", "_charged", "_copy", "_layout", "_watch", "source", "step")

    def __init__(self, tensor: Tensor, step: Step | None) -> None:
        located = region_of(tensor)
        region = tensor if located is None else located[0]
        self._layout = None if located is None else located[1]
        self._copy = region.detach().clone()
        self.source = StorageWeakRef(tensor.untyped_storage())
        self._watch = None if step is None else Watch(tensor)
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


class Encoded:
    """One region as codes, shared by every save of the same region of the same storage at the same version.

    Args:
        code: The codes.

    Attributes:
        owner: Who is charged for the code.
    """

    __slots__ = ("__weakref__", "code", "owner", "readers")

    depth = 0
    widening = 1.0
    """How many times as large as that of the code the deviation of what is decoded is."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.owner: Site | None = None
        self.readers = 0

    @property
    def is_narrow(self) -> bool:
        """Whether it is rounded so that a curve of it is off on average."""
        return self.code.name == Groups.name and self.code.bits <= NARROW

    @property
    def origin(self) -> Origin:
        """Itself, if it is narrow."""
        return Origin(frozenset((weakref.ref(self),))) if self.is_narrow else EXACT

    @property
    def bits(self) -> int:
        """Width of its code."""
        return self.code.bits

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the region."""
        return self.code.dtype

    @property
    def decision(self) -> Decision:
        """Its codec and width."""
        return Decision.code(self.code.name, self.code.bits)

    def give_way(self, region: Tensor) -> int:
        """Takes the region itself, which somebody keeps anyway, in place of the code; the bytes that are free now."""
        freed = self.code.nbytes
        self.code = Exact(region)
        return freed

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout, which must have the region of these codes."""
        return layout.restore(self.code.decode(layout.dense, layout.region_stride))

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass that decodes to memory of the size and stride of the region; None if there is none."""
        code = self.code
        return Pass.over(cast(Decoded, code)) if code.name == Groups.name and code.dtype in DTYPES else None

    def mask_(self, x: Tensor, layout: Layout) -> None:
        """Multiplies a tensor of that layout by a mask, in place."""
        code = self.code.loaded()
        if isinstance(code, Mask):
            code.apply_(x)
        else:
            x.mul_(self.decode(layout))


class Fine(Encoded):
    """One region in finer codes than its site is to have, in a step in which the effect of its rounding is measured.

    Args:
        code: The finer codes.
        bits: Width that the site has now. It is what sharing goes by, so that the step shares as every other does.

    Attributes:
        noise: Width and key of a rounding that unpacking adds; None for none.
        is_read: Whether it was unpacked since this was last set to False.
    """

    __slots__ = ("_bits", "is_read", "noise")

    def __init__(self, code: Groups, bits: int) -> None:
        super().__init__(code)
        self.noise: tuple[int, int] | None = None
        self.is_read = False
        self._bits = bits

    @property
    def bits(self) -> int:
        """Width that the site has now."""
        return self._bits

    @property
    def widening(self) -> float:  # type: ignore[override]
        """What noise does to the deviation: a group's step is in inverse proportion to its levels."""
        return 1.0 if self.noise is None else ((1 << self.code.bits) - 1) / ((1 << self.noise[0]) - 1)

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout, rounded once more if noise is asked for."""
        self.is_read = True
        size, stride = layout.dense, layout.region_stride
        code = self.code.loaded()
        if self.noise is None or not isinstance(code, Groups):
            return layout.restore(self.code.decode(size, stride))
        return layout.restore(code.decode_rounded(size, stride, *self.noise))

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass that decodes; None where noise is asked for."""
        self.is_read = True
        return super().one_pass(size, stride) if self.noise is None else None


class Held(Protocol):
    """A region that can be given back: held as codes, or rebuilt from others that are.

    Attributes:
        bits: Width of the narrowest code that its values come from.
        depth: How many recipes lie between it and codes.
        dtype: Dtype of the region.
        decision: What the report says of it.
        origin: Which narrow codes it comes from.
        readers: Saves of it that share what is decoded and have not been read yet.
    """

    readers: int

    @property
    def bits(self) -> int:  # noqa: D102
        ...

    @property
    def depth(self) -> int:  # noqa: D102
        ...

    @property
    def dtype(self) -> torch.dtype:  # noqa: D102
        ...

    @property
    def decision(self) -> Decision:  # noqa: D102
        ...

    @property
    def origin(self) -> Origin:  # noqa: D102
        ...

    def decode(self, layout: Layout) -> Tensor:
        """A fresh tensor of that layout."""
        ...

    def one_pass(self, size: torch.Size, stride: tuple[int, ...]) -> Pass | None:
        """The pass over codes that writes the region to memory of that size and stride; None if there is none."""
        ...


class Packed:
    """One saved tensor: what is held for its region and the layout of this save.

    Args:
        held: What gives the region back.
        layout: Size and stride of the saved tensor.
        step: The step it belongs to.
        shares: Whether it may get the tensor that another save of the region got.
    """

    __slots__ = ("_shares", "held", "layout", "step")

    def __init__(self, held: Held, layout: Layout, step: Step, shares: bool = False) -> None:
        self.held = held
        self.layout = layout
        self.step = step
        self._shares = shares
        held.readers += shares

    def unpack(self) -> Tensor:
        """A tensor with the size, stride, dtype and device of the saved one; fresh, but for readers that share it."""
        if self._shares and in_backward():
            return self.step.sharing.read(self.held, self.layout)
        return self.held.decode(self.layout)


def unpack(saved: Save | Kept | Copied) -> Tensor:
    """The unpack hook of every compressor."""
    step = saved.step
    if step is not None and in_backward():
        if step.inner.is_reading():
            step.inner.read(saved.site if type(saved) is Save else None)
        elif not step.used:
            step.used = True
            step.inner.use()
    if not isinstance(saved, Save):
        return saved.unpack()
    if saved.result is None:
        saved.queue.keep(saved)
    assert saved.result is not None
    return saved.result.unpack()
