"""Rules: what the user wants for some saved tensors, by module, op, dtype, rank, size or a predicate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ..records import Site


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do with the saved tensors that match.

    A tensor matches if it meets every condition given. Rules come after what the consumer needs: they choose among
    the ways to hold a value, and never turn a mask, an index or an exactly needed tensor into rounded numbers. Sites
    and their names are in ``Compressor.report()``.

    Attributes:
        module: Pattern of the module path, as in ``fnmatch``: ``"encoder.layer.*.attention*"``.
        op: Pattern of the op: ``"linear"``, ``"scaled_dot_product_*"``.
        dtype: Dtype of the tensor.
        rank: Number of its dimensions.
        min_numel: Least number of elements.
        max_numel: Greatest number of elements.
        where: Called with the site and the tensor; must not keep the tensor.
        keep: Leave the tensor as it is.
        bits: Width of its code, 1 to 8.
        min_bits: Least width.
        max_bits: Greatest width.
        offload: Whether to move it to the compressor's ``offload`` store; goes with any action, or alone. If some rule
            says True, nothing else is moved; otherwise everything is but what a rule with False matches.

    Raises:
        ValueError: If there is no action or several that contradict each other, or a width is out of range.
    """

    module: str = "*"
    op: str = "*"
    dtype: torch.dtype | None = None
    rank: int | None = None
    min_numel: int = 0
    max_numel: int | None = None
    where: Callable[[Site, Tensor], bool] | None = None
    keep: bool = False
    bits: int | None = None
    min_bits: int | None = None
    max_bits: int | None = None
    offload: bool | None = None

    def __post_init__(self) -> None:
        widths = {"bits": self.bits, "min_bits": self.min_bits, "max_bits": self.max_bits}
        for name, width in widths.items():
            if width is not None and (isinstance(width, bool) or width not in range(1, 9)):
                raise ValueError(f"{name} must be a whole number from 1 to 8, got {width!r}.")
        given = [name for name, width in widths.items() if width is not None] + ["keep"] * self.keep
        if not given and self.offload is None:
            raise ValueError("a Rule needs an action: keep=True, bits, min_bits, max_bits or offload.")
        if len(given) > 1 and set(given) != {"min_bits", "max_bits"}:
            raise ValueError(f"a Rule takes one action (or min_bits with max_bits), got {', '.join(given)}.")
        if self.min_bits is not None and self.max_bits is not None and self.min_bits > self.max_bits:
            raise ValueError(f"min_bits must not exceed max_bits, got {self.min_bits} and {self.max_bits}.")

    def __str__(self) -> str:
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = (f"{each.name}={given[each.name]!r}" for each in fields(self) if given[each.name] != each.default)
        return f"Rule({', '.join(shown)})"

    def names(self, site: Site) -> bool:
        """Whether the site has the module and op of this rule."""
        return fnmatchcase(site.module, self.module) and fnmatchcase(site.op, self.op)

    def fits(self, site: Site, tensor: Tensor) -> bool:
        """Whether a tensor saved at a site of that name meets the other conditions."""
        return (
            (self.dtype is None or tensor.dtype is self.dtype)
            and (self.rank is None or tensor.dim() == self.rank)
            and self.min_numel <= tensor.numel()
            and (self.max_numel is None or tensor.numel() <= self.max_numel)
            and (self.where is None or bool(self.where(site, tensor)))
        )


class Rules:
    """The rules of a compressor, and which of them have matched.

    Args:
        rules: The rules; their order means nothing.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        self._rules = tuple(rules)
        for rule in self._rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"rules must be gact.Rule objects, got {type(rule).__name__}.")
        self._by_site: dict[Site, Sequence[Rule]] = {}
        self._matched: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._rules)

    @property
    def all(self) -> tuple[Rule, ...]:
        """The rules as given."""
        return self._rules

    def of(self, site: Site, tensor: Tensor) -> Rule | None:
        """The rule for a tensor: the one that matches, or several that agree in one.

        Raises:
            ValueError: If matching rules contradict each other.
        """
        named = self._by_site.get(site)
        if named is None:
            named = self._by_site[site] = [rule for rule in self._rules if rule.names(site)]
        matching = [rule for rule in named if rule.fits(site, tensor)]
        self._matched.update(map(id, matching))
        if len(matching) < 2:
            return matching[0] if matching else None
        return _together(site, matching)

    def keep(self, site: Site | None, tensor: Tensor | None) -> bool:
        """Whether a tensor that is still there is to be left as it is, at a site that is known."""
        rule = None if site is None or tensor is None else self.of(site, tensor)
        return rule is not None and rule.keep

    def unmatched(self) -> list[Rule]:
        """Rules that have matched nothing so far."""
        return [rule for rule in self._rules if id(rule) not in self._matched]


def _together(site: Site, rules: Sequence[Rule]) -> Rule:
    """One rule in place of several that match."""
    moves = {rule.offload for rule in rules if rule.offload is not None}
    acting = [
        rule for rule in rules if rule.offload is None or rule.keep or rule.bits or rule.min_bits or rule.max_bits
    ]
    actions = {(rule.keep, rule.bits) for rule in acting} or {(False, None)}
    least = max((rule.min_bits for rule in rules if rule.min_bits is not None), default=None)
    most = min((rule.max_bits for rule in rules if rule.max_bits is not None), default=None)
    if len(actions) > 1 or len(moves) > 1 or (least is not None and most is not None and least > most):
        raise ValueError(
            f"rules contradict each other at {site}: {' and '.join(map(str, rules))}. "
            "Narrow one of them, by module, op or where."
        )
    keep, bits = actions.pop()
    move = next(iter(moves), None)
    if keep or bits:
        return acting[0] if acting[0].offload is move else replace(acting[0], offload=move)
    return Rule(min_bits=least, max_bits=most, offload=move)
