"""Which sites are measured in one backward pass, and how the pass's result is shared among them.

NOTE: Many sites in one pass
Noise of different tensors is independent, so its energy adds up: one pass that rounds several tensors gives, for each
parameter, the sum of what each of them does to its gradient. Much of that sum can be told apart:

* A parameter read by the very node that reads the tensor (the weight of the linear layer whose input was rounded)
  gets that tensor's noise first hand. Its energy goes to the members of the group that its node reads. The inputs of
  all linear layers and convolutions, whose noise reaches nothing else, are thereby measured in one pass.
* Noise that travels on is seen in parameters that read none of the group's tensors. It came from a member that is
  read later in forward, and is shared among those in proportion to their elements.

Alike members (same op and slot) are put together, so that one does not drown the others. A group is split where
sharing is least certain: where members that have little noise of their own get much of what travels. One more pass
measures one part; the other is the difference.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .graph import Leaf

_APART = 1.5
"""Members whose own noise per element differs by e to this power are not alike."""
_MIXED = 10.0
"""How much more urgent it is to split a group of several shapes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One site whose sensitivity is to be measured.

    Attributes:
        kind: What makes it alike to others: op and slot.
        shape: Shape of its tensors.
        numel: Elements.
        readers: Sequence numbers of the nodes that read its tensors, or tensors rebuilt from them.
    """

    kind: Hashable
    shape: tuple[int, ...]
    numel: int
    readers: frozenset[int]


class Sharing:
    """Who can have caused the noise seen in each leaf.

    Args:
        members: The sites.
        leaves: The leaves, in the order of the energies.
    """

    def __init__(self, members: Sequence[Member], leaves: Sequence[Leaf]) -> None:
        self.numel = torch.tensor([member.numel for member in members], dtype=torch.float64)
        places = torch.tensor([max(leaf.readers, default=-1) for leaf in leaves])
        last = torch.tensor([max(member.readers, default=-1) for member in members])
        self._first_hand = torch.tensor(
            [[not member.readers.isdisjoint(leaf.readers) for leaf in leaves] for member in members]
        ).reshape(len(members), len(leaves))
        self._possible = last[:, None] >= places[None, :]

    def share(self, group: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Shares what one pass saw at each leaf among its members.

        Args:
            group: Indices of the members that were rounded in the pass.

        Returns:
            Which part of it each member caused first hand, and which of what travelled; both of shape [members of the
            group, leaves].
        """
        index = torch.tensor(group)
        numel = self.numel[index, None]
        first_hand = self._first_hand[index] * numel
        possible = self._possible[index] * numel
        possible = torch.where(possible.sum(0) > 0, possible, numel)
        own = first_hand.sum(0) > 0
        first = torch.where(own, first_hand / first_hand.sum(0).clamp(min=1.0), 0.0)
        travelled = torch.where(own, 0.0, possible / possible.sum(0))
        return first, travelled


@dataclass(frozen=True, slots=True)
class Group:
    """Members that were measured together.

    Attributes:
        members: Their indices.
        energy: What the pass saw at each leaf, by each measure of noise; the last decides about splitting.
        first: Which part of it each member caused first hand, shape [members, leaves].
        others: Which part of what travelled.
    """

    members: list[int]
    energy: Tensor
    first: Tensor
    others: Tensor

    @property
    def first_hand(self) -> Tensor:
        """What each member caused first hand, shape [members, measures]."""
        return self.first @ self.energy

    @property
    def travelled(self) -> Tensor:
        """Each member's share of what travelled, shape [members, measures]."""
        return self.others @ self.energy

    @property
    def estimate(self) -> Tensor:
        """What each member causes, shape [members, measures]."""
        return self.first_hand + self.travelled

    @property
    def by_leaf(self) -> Tensor:
        """What each member causes at each leaf, shape [members, leaves, measures]."""
        return (self.first + self.others)[:, :, None] * self.energy

    def uncertainty(self, members: Sequence[Member]) -> float:
        """How much is at stake in the sharing: elements, each by how much of its site's estimate was shared."""
        if len(self.members) == 1:
            return 0.0
        numel = _numel(members, self.members)
        shared = (self.travelled / self.estimate.clamp(min=1e-300))[:, -1]
        at_stake = float((numel * shared).sum()) * (1 - 1 / len(self.members))
        if len({members[index].shape for index in self.members}) > 1:
            at_stake *= _MIXED
        return at_stake

    def halves(self, members: Sequence[Member]) -> tuple[list[int], list[int]]:
        """Two parts that are more alike in themselves: by own noise, or by shape, or by place in the network."""
        level = (self.first_hand[:, -1] / _numel(members, self.members)).clamp(min=1e-30).log()
        order = torch.argsort(level, stable=True)
        steps = level[order].diff()
        widest = int(steps.argmax())
        if float(steps[widest]) > _APART:
            ordered = [self.members[index] for index in order.tolist()]
            return ordered[: widest + 1], ordered[widest + 1 :]
        ordered = sorted(self.members, key=lambda index: (members[index].numel, members[index].shape, index))
        middle = len(ordered) // 2
        borders = [at for at in range(1, len(ordered)) if members[ordered[at]].shape != members[ordered[at - 1]].shape]
        if borders:
            middle = min(borders, key=lambda at: abs(at - middle))
        else:
            ordered = sorted(self.members)
        return ordered[:middle], ordered[middle:]


def first_groups(members: Sequence[Member], most: int) -> list[list[int]]:
    """Members by kind; where there are more kinds than passes, those with the fewest elements together."""
    kinds: dict[Hashable, list[int]] = {}
    for index, member in enumerate(members):
        kinds.setdefault(member.kind, []).append(index)
    groups = sorted(kinds.values(), key=lambda group: -sum(members[index].numel for index in group))
    if len(groups) <= most:
        return groups
    rest = [index for group in groups[most - 1 :] for index in group]
    return [*groups[: most - 1], sorted(rest)]


def passes_for(members: Sequence[Member], least: int, most: int) -> int:
    """How many passes a set of members deserves: one for each kind and shape, whatever the depth of the network."""
    return min(max(len({(member.kind, member.shape) for member in members}), least), most)


def _numel(members: Sequence[Member], indices: Sequence[int]) -> Tensor:
    return torch.tensor([members[index].numel for index in indices], dtype=torch.float64)
