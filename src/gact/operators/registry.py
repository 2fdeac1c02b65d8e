"""Needs that users state: custom autograd Functions, ops of ``torch.library``, C++ functions."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import torch
from torch.autograd.graph import Node

from ..autograd.internals import node_class
from .comparisons import COMPARING
from .need import SIGN, VALUE, WIDE, Chooser, Need, Slots, exact

WORDS = {"value": VALUE, "wide": WIDE, "sign": SIGN, "exact": exact("registered"), "shape": Need("shape")}


class _Stated:
    """What was said about one node class: a need for all slots, or one for each that was named."""

    __slots__ = ("every", "slots")

    def __init__(self, every: Need | Chooser | None, slots: Slots) -> None:
        self.every = every
        self.slots = slots

    def get(self, slot: str) -> Need | Chooser | None:
        return self.slots.get(slot, self.every)


BY_NAME: dict[str, _Stated] = {}
_BY_CLASS: WeakKeyDictionary[type, _Stated] = WeakKeyDictionary()


def register_need(target: type[torch.autograd.Function] | str, *needs: str, **slots: str) -> None:
    """Says what the backward of a custom operator reads of the tensors that it saved.

    What nobody vouches for stays exact. A need is one of these words:

    * ``"value"``: backward is linear in the tensor, or nearly, so an unbiased estimate will do;
    * ``"wide"``: backward is smooth in it and not linear; 8 bits at least;
    * ``"sign"``: backward reads whether an element is greater than 0, and nothing else;
    * ``"shape"``: backward reads its size, dtype and device, and no element;
    * ``"exact"``: anything else, such as a division by it, a comparison or an index.

    To register a target again replaces what was said before. What is said of a node of torch goes before the table of
    this package; of nodes that compare what they saved with each other (``amax``, ``maximum``) only ``"exact"`` is
    taken, which has them hold the values where one bit tells who won.

    Args:
        target: A subclass of ``torch.autograd.Function``, or the name of a node class as ``node.name()`` gives it. That
            of an op of ``torch.library`` is ``"GeneratedBackwardFor_<namespace>_<op>_defaultBackward"``. A name that no
            node has yet is taken as that of one to come; if it is misspelt, the report goes on to name the node.
        *needs: One for all tensors, or one for each in the order of ``save_for_backward``. A Function may save more
            tensors in one call than in another: tensors beyond the words stay exact, words beyond the tensors wait.
        **slots: For nodes of C++, whose slots have names: the need of each, by what follows ``_saved_``.

    Raises:
        TypeError: If the target is neither.
        ValueError: If a need is not one of the words, if there is none, if the target has no such slot, or if torch's
            node compares what it saved and the need is not ``"exact"``.

    Example:
        >>> gact.register_need(ScaledSine, "value", "exact")
        >>> gact.register_need("GeneratedBackwardFor_mylib_swiglu_defaultBackward", "value")
    """
    is_function = isinstance(target, type) and issubclass(target, torch.autograd.Function)
    if not is_function and not (isinstance(target, str) and target):
        raise TypeError(
            f"register_need() got {target!r}; the target must be a subclass of torch.autograd.Function or the name of "
            "a node class, as tensor.grad_fn.name() gives it"
        )
    title = target if isinstance(target, str) else target.__name__
    if not needs and not slots:
        raise ValueError(f"register_need({title}) got no need; give one of {_words()} for all tensors or one for each")
    if isinstance(target, str):
        _check_slots(target, needs, slots)
    elif slots:
        raise ValueError(
            f"register_need({title}) got the slot {next(iter(slots))!r}; what a Function saves has no names: give one "
            "need for each tensor in the order of save_for_backward"
        )
    found = [_need(word, title) for word in needs]
    named = {slot: _need(word, title) for slot, word in slots.items()}
    if title in COMPARING and isinstance(target, str):
        _check_comparing(title, needs, slots)
    if len(found) == 1:
        stated = _Stated(found[0], named)
    else:
        stated = _Stated(None, {str(place): need for place, need in enumerate(found)} | named)
    if isinstance(target, str):
        BY_NAME[target] = stated
    else:
        _BY_CLASS[target] = stated


def state_needs(target: type[torch.autograd.Function], slots: Slots) -> None:
    """Registers a custom Function of this package, whose needs may depend on what is saved.

    Args:
        target: The Function.
        slots: The need of each tensor, by its position in ``save_for_backward``.
    """
    _BY_CLASS[target] = _Stated(None, slots)


def stated_by_name(name: str, slot: str) -> Need | Chooser | None:
    """What was registered for a slot of a node class, by its name.

    Args:
        name: As ``node.name()`` gives it.
        slot: The slot, or the position in ``save_for_backward``.
    """
    stated = BY_NAME.get(name)
    return stated.get(slot) if stated is not None else None


def stated_by_class(node: Node, slot: str) -> Need | Chooser | None:
    """What was registered for a slot of a node that a custom Function made.

    Args:
        node: Any node.
        slot: The position in ``save_for_backward``.
    """
    stated = _BY_CLASS.get(getattr(node, "_forward_cls", type(None)))
    return stated.get(slot) if stated is not None else None


def _words() -> str:
    return ", ".join(f'"{word}"' for word in WORDS)


def _need(word: object, title: str) -> Need:
    if not isinstance(word, str) or word not in WORDS:
        several = ", one argument for each tensor" if isinstance(word, (list, tuple)) else ""
        raise ValueError(f"register_need({title}) got the need {word!r}; allowed are {_words()}{several}")
    return WORDS[word]


def _check_slots(name: str, needs: tuple[str, ...], slots: dict[str, str]) -> None:
    """Raises if a node of torch has no such slots."""
    node = node_class(name)
    if node is None:
        return
    has = [attribute.removeprefix("_raw_saved_") for attribute in dir(node) if attribute.startswith("_raw_saved_")]
    if len(needs) > 1:
        raise ValueError(f"register_need({name}) got {len(needs)} needs; name its slots instead: {', '.join(has)}")
    for slot in slots:
        if slot not in has:
            raise ValueError(f"register_need({name}) got the slot {slot!r}; it has {', '.join(has) or 'none'}")


def _check_comparing(name: str, needs: tuple[str, ...], slots: dict[str, str]) -> None:
    """Raises if values are to be rounded that a node looks for among each other."""
    for word in (*needs, *slots.values()):
        if word != "exact":
            raise ValueError(
                f"register_need({name}) got the need {word!r}; {name} compares what it saved with each other, which "
                'rounding would destroy: allowed is "exact". Without a need, one bit for each element tells who won'
            )
