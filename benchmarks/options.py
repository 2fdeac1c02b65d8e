"""What a run was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Options:
    """How a case is to be measured.

    Attributes:
        quick: Tiny sizes and few rounds, to see that the case runs; its figures mean nothing.
        where: For names of a configuration, the values wanted, as text; configurations without the name are wanted.
    """

    quick: bool = False
    where: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def wants(self, config: Mapping[str, Any]) -> bool:
        """Whether a configuration is among the wanted ones."""
        return all(str(config[name]) in values for name, values in self.where.items() if name in config)

    def pick(self, full: T, quick: T) -> T:
        """The first for a real run, the second for a quick one."""
        return quick if self.quick else full


def parse_where(items: Sequence[str]) -> dict[str, frozenset[str]]:
    """Conditions of the command line, as ``Options.where`` has them.

    Args:
        items: Each ``name=value`` or ``name=value,value``.

    Raises:
        ValueError: If one has no ``=``.
    """
    where = {}
    for item in items:
        name, equals, values = item.partition("=")
        if not equals:
            raise ValueError(f"--where takes name=value or name=value,value, got {item!r}.")
        where[name] = frozenset(values.split(","))
    return where
