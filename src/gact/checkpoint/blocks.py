"""Finds the blocks a network is a stack of, without knowing any network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatchcase

from torch import nn


def find_blocks(model: nn.Module, names: Iterable[str] | None = None) -> dict[str, nn.Module]:
    """The modules that repeat, by path.

    A block is one of at least two modules of the same class, with modules of their own, that lie side by side in an
    ``nn.ModuleList`` or ``nn.Sequential``. The outermost stack counts: nothing inside a block is one.

    Args:
        model: The network.
        names: Patterns of module paths, as in ``fnmatch``, to choose by name instead: ``"encoder.layer.*"`` (which
            matches what lies deeper too; of modules inside each other the outermost counts).

    Returns:
        Path and module of each block, in the order of ``named_modules()``; a module that is used twice once.

    Raises:
        ValueError: If there is none, or a pattern matches nothing.
    """
    found = _repeated(model) if names is None else _named(model, list(names))
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no repeated blocks: no two modules of one class that have modules of their "
            "own lie in one nn.ModuleList or nn.Sequential. Name the modules, as in checkpoint=['encoder.*']."
        )
    return found


def _repeated(model: nn.Module) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def visit(module: nn.Module, path: str) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        children = list(module.named_children())
        stack = isinstance(module, (nn.ModuleList, nn.Sequential))
        classes = Counter(type(child) for _, child in children if stack and next(child.children(), None) is not None)
        for name, child in children:
            place = f"{path}.{name}" if path else name
            if classes[type(child)] >= 2:
                if id(child) not in seen:  # else it is known by another path
                    found[place] = child
                seen.add(id(child))
            else:
                visit(child, place)

    visit(model, "")
    return found


def _named(model: nn.Module, patterns: list[str]) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {}
    modules = {path: module for path, module in model.named_modules() if path}
    for pattern in patterns:
        matching = [path for path in modules if fnmatchcase(path, pattern)]
        if not matching:
            raise ValueError(
                f"checkpoint names {pattern!r}, which matches no module. Paths are those of named_modules(), as in "
                f"{', '.join(map(repr, list(modules)[:3]))}."
            )
        found.update((path, modules[path]) for path in matching)
    outer = {path for path in found if not any(path.startswith(f"{other}.") for other in found)}
    return {path: module for path, module in modules.items() if path in outer}
