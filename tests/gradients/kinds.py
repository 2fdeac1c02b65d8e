"""Kinds of networks and losses by name, and what they are built of."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from measure import kind_faults
from torch import Tensor, nn

Kind = Callable[[], tuple[nn.Module, Callable[[], Tensor]]]


class Kinds(dict[str, Kind]):
    """Functions that make a model, and a function that returns its loss."""

    def __call__(self, make: Kind) -> Kind:
        """Adds one under its own name."""
        self[make.__name__] = make
        return make

    def of(self, *values: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Adds one for each value that the function takes, a tuple being several arguments."""

        def add(make: Callable[..., Any]) -> Callable[..., Any]:
            for value in values:
                arguments = value if isinstance(value, tuple) else (value,)
                name = " ".join([make.__name__, *(getattr(x, "__name__", str(x)) for x in arguments)])
                self[name] = lambda arguments=arguments: make(*arguments)
            return make

        return add

    def check(self, name: str, widths: tuple[int, ...] = (8, 4, 2)) -> None:
        """Measures one; what is wrong with it is the error."""
        torch.manual_seed(0)
        model, loss = self[name]()
        faults = kind_faults(model, loss, widths)
        assert not faults, f"{name}: " + "; ".join(faults)


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with activations between them."""
    layers: list[nn.Module] = []
    for i, o in pairwise(widths):
        layers += [nn.Linear(i, o), act()]
    return nn.Sequential(*layers[:-1])


def trained(model: nn.Module, loss: Callable[[], Tensor], steps: int = 150, rate: float = 3e-3) -> None:
    """Trains plainly, until a classifier is sure."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
