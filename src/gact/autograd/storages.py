"""Keeps the addresses of storages from being used again, and nothing of their memory."""

from __future__ import annotations

from torch import UntypedStorage


class WeakStorages:
    """Storages whose address stays their own as long as this object lives, whether or not their memory does.

    An address tells one storage from another only while both are there: the allocator gives it away again.
    """

    __slots__ = ("_references",)

    # Names of the class, since those of the module may be gone when the interpreter ends.
    _take = staticmethod(UntypedStorage._weak_ref)
    _free = staticmethod(UntypedStorage._free_weak_ref)

    def __init__(self) -> None:
        self._references: dict[int, int] = {}

    def add(self, storage: UntypedStorage) -> int:
        """Keeps a storage's address apart and returns it."""
        address: int = storage._cdata
        if address not in self._references:
            self._references[address] = self._take(storage)  # type: ignore[assignment]
        return address

    def __contains__(self, address: int) -> bool:
        return address in self._references

    def clear(self) -> None:
        """Lets go of all addresses."""
        references, self._references = self._references, {}
        for reference in references.values():
            self._free(reference)  # type: ignore[no-untyped-call]

    def __del__(self) -> None:
        if hasattr(self, "_references"):  # else an interrupt came before it was made
            self.clear()
