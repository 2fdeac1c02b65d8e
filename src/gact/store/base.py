"""What a store is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

Parts = tuple[Tensor, ...]


class Ticket(Protocol):
    """The right to have stored data back. What it stands for is released when it dies."""

    @property
    def nbytes(self) -> int:
        """Bytes that have left the memory of the device."""
        ...

    def load(self) -> Parts:
        """The parts, equal bit for bit to those that were put in, as often as asked. They must not be written to."""
        ...


class Store(Protocol):
    """A place for packed data.

    Attributes:
        name: What the report calls it.
    """

    name: str

    def put(self, parts: Parts) -> Ticket:
        """Takes dense tensors, which the caller lets go of and nobody changes afterwards.

        Raises:
            StoreError: If the store cannot take them, or could not write down earlier ones, which are then still in
                memory.
        """
        ...

    def begin_step(self) -> None:
        """Says that what is put in from now on belongs to the next step."""
        ...

    def close(self) -> None:
        """Lets go of threads and files once the last ticket has died. Tickets stay valid."""
        ...
