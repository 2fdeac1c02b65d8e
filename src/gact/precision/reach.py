"""What Python code can reach and change: containers, attributes, variables and buffers, as they were.

NOTE: What is looked at
From a function: its variables from around it, the globals it names, what it is bound to. From there containers of
Python, modules with all that hangs on them, and attributes of other objects that are reached from a function or a
``ctx`` at once. Objects of libraries that keep caches (torch, triton, numpy) and ours are not entered. Nothing here
tells what is written to a file or sent.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ..autograd.internals import set_version, variables_of

_LIBRARIES = {"torch", "triton", "numpy", "gact"}
_PLAIN = (str, bytes, int, float, complex, bool, type(None), type, ModuleType, BuiltinFunctionType, CodeType)


class Reach:
    """What is reached from some objects, as it is now.

    Args:
        roots: Functions, modules, containers or other objects.

    Attributes:
        tensors: The tensors that were reached otherwise than through a module.
        buffers: The tensors of modules whose values will be put back.
        used_up: What was reached and gives each of its items once, which cannot be put back: iterators, files.
    """

    def __init__(self, roots: Iterable[object]) -> None:
        self.tensors: list[Tensor] = []
        self.used_up: list[object] = []
        self.buffers: list[Tensor] = []
        self._again: list[Callable[[], None]] = []
        self._noted: dict[int, Tensor] = {}
        self._seen: dict[tuple[int, bool], object] = {}
        self._values: list[Values] = []
        for root in roots:
            self._walk(root, is_near=True)

    def put_back(self) -> None:
        """Has everything be again what it was; it may be called several times."""
        self.put_back_objects()
        self.put_back_values()

    def put_back_objects(self) -> None:
        """Has containers, attributes and variables be what they were."""
        for again in self._again:
            again()

    def put_back_values(self) -> None:
        """Has the buffers of modules have the values they had."""
        for each in self._values:
            each.put_back()

    def note_buffers(self, modules: Iterable[nn.Module]) -> None:
        """Notes the buffers of modules besides, and nothing else of them."""
        for module in modules:
            for buffer in module.buffers(recurse=False):
                self._note_tensor(buffer, of_module=True)

    def _walk(self, root: object, is_near: bool) -> None:
        waiting: list[tuple[object, bool, bool]] = [(root, is_near, False)]
        while waiting:
            each, near, of_module = waiting.pop()
            if isinstance(each, _PLAIN) or (id(each), of_module) in self._seen:
                continue
            self._seen[id(each), of_module] = each  # held: ids are not used again meanwhile
            if isinstance(each, Tensor):
                self._note_tensor(each, of_module)
                if vars(each):
                    waiting.append((vars(each), False, False))
            elif isinstance(each, nn.Module):
                waiting.append((vars(each), False, True))
                if not _is_of_library(type(each)):
                    waiting.append((type(each).forward, False, True))
            else:
                inner = self._note_container(each)
                if inner is None:
                    waiting.extend((other, True, of_module) for other in self._note_other(each, near))
                else:
                    waiting.extend((other, False, of_module) for other in inner)

    def _note_tensor(self, tensor: Tensor, of_module: bool) -> None:
        if not of_module:
            self.tensors.append(tensor)
        elif not isinstance(tensor, nn.Parameter) and not tensor.requires_grad and id(tensor) not in self._noted:
            self._noted[id(tensor)] = tensor
            if can_restore(tensor):
                self._values.append(Values(tensor))
                self.buffers.append(tensor)

    def _note_container(self, each: object) -> Iterable[object] | None:
        """Notes what a container of Python holds, and returns it; None if it is none."""
        if isinstance(each, dict):
            self._again.append(functools.partial(_restore_dict, each, dict(each)))
            return list(each.values())
        if isinstance(each, (list, deque)):
            self._again.append(functools.partial(_restore_list, each, list(each)))
            return list(each)
        if isinstance(each, set):
            self._again.append(functools.partial(_restore_set, each, set(each)))
            return list(each)
        return each if isinstance(each, (tuple, frozenset)) else None

    def _note_other(self, each: Any, near: bool) -> Iterator[object]:
        """Notes what hangs on a function or an object, and goes on with it."""
        if isinstance(each, functools.partial):
            yield from (each.func, each.args, each.keywords)
        elif isinstance(each, MethodType):
            yield from (each.__self__, each.__func__)
        elif isinstance(each, FunctionType):
            yield from self._note_function(each)
        elif hasattr(type(each), "__next__"):
            self.used_up.append(each)
        elif near and not _is_of_library(type(each)) and hasattr(each, "__dict__"):
            yield from _inside(vars(each))
            self._again.append(functools.partial(_restore_dict, vars(each), dict(vars(each))))

    def _note_function(self, function: FunctionType) -> Iterator[object]:
        if _is_of_library(function):
            yield from variables_of(function).values()  # a wrapper of torch's around a function of somebody's
            return
        for cell in function.__closure__ or ():
            with contextlib.suppress(ValueError):  # a variable that is not set yet
                content = cell.cell_contents
                self._again.append(functools.partial(_restore_cell, cell, content))
                yield content
        yield from (function.__defaults__ or (), function.__kwdefaults__ or {})
        names = function.__globals__
        used = _names_in(function.__code__)
        modules = [value for name in used if isinstance(value := names.get(name), ModuleType) and not _is_known(value)]
        for holder in [names, *map(vars, modules)]:
            for name in used & holder.keys():
                self._again.append(functools.partial(_restore_item, holder, name, holder[name]))
                yield holder[name]

    def note_class(self, kind: type) -> None:
        """Notes what a class and those that it is made of hold, and what their methods reach."""
        for each in kind.__mro__:
            if each is object or _is_of_library(each):
                continue
            for name, value in list(vars(each).items()):
                if isinstance(value, (staticmethod, classmethod, FunctionType)):
                    self._walk(getattr(value, "__func__", value), is_near=True)
                elif not name.startswith("__"):
                    self._again.append(functools.partial(_restore_attribute, each, name, value))
                    self._walk(value, is_near=False)


class Values:
    """The values of a tensor, its memory and its version, as they are now.

    Args:
        tensor: One for which ``can_restore`` holds.
    """

    __slots__ = ("_alias", "_bytes", "_tensor", "_value", "_version")

    def __init__(self, tensor: Tensor) -> None:
        self._tensor, self._alias = tensor, tensor.detach()
        self._bytes, self._version = tensor.untyped_storage().nbytes(), tensor._version
        self._value = self._alias.clone()

    def put_back(self) -> bool:
        """Has the tensor be what it was; whether it was another."""
        tensor, alias = self._tensor, self._alias
        moved = tensor.untyped_storage()._cdata != alias.untyped_storage()._cdata or tensor.shape != alias.shape
        if moved:
            tensor.data = alias
        freed = alias.untyped_storage().nbytes() != self._bytes
        if freed:
            alias.untyped_storage().resize_(self._bytes)
        differs = freed or not torch.equal(alias, self._value)
        if differs:
            differs = freed or not _same_bytes(alias, self._value)
            alias.copy_(self._value)
        if tensor._version != self._version:  # by it autograd tells that a saved tensor was changed
            set_version((tensor,), (self._version,))
        return moved or differs


def can_restore(tensor: Tensor) -> bool:
    """Whether the values of a tensor can be put back: those of an ordinary one, no two elements of it at one place."""
    if tensor.layout is not torch.strided or tensor.is_inference() or tensor.is_meta:
        return False
    if type(tensor) not in (Tensor, nn.Parameter, nn.Buffer) or tensor.is_quantized:
        return False
    return all(stride or size < 2 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are alike where a NaN equals itself."""
    return torch.equal(*(each.contiguous().reshape(-1).view(torch.uint8) for each in (one, other)))


def _is_known(module: ModuleType) -> bool:
    """Whether a module is of Python's own library or of one that is not entered."""
    name = module.__name__.partition(".")[0]
    return name in _LIBRARIES or name in sys.stdlib_module_names


def _is_of_library(each: Any) -> bool:
    return (getattr(each, "__module__", None) or "").partition(".")[0] in _LIBRARIES


def _inside(attributes: dict[str, Any]) -> Iterator[object]:
    """What an object holds of containers, tensors and modules; other objects are not entered."""
    for value in list(attributes.values()):
        if isinstance(value, (dict, list, set, deque, tuple, Tensor, nn.Module, FunctionType, MethodType)):
            yield value


def _names_in(code: CodeType) -> set[str]:
    names = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            names |= _names_in(each)
    return names


def _restore_dict(each: dict[Any, Any], before: dict[Any, Any]) -> None:
    if list(each) != list(before) and each.keys() == before.keys():
        each.clear()  # only the order differs
    for key in [key for key in each if key not in before]:
        del each[key]
    for key, value in before.items():
        if key not in each or each[key] is not value:
            each[key] = value


def _restore_list(each: list[Any] | deque[Any], before: list[Any]) -> None:
    if len(each) == len(before) and all(one is other for one, other in zip(each, before, strict=True)):
        return
    each.clear()
    each.extend(before)


def _restore_set(each: set[Any], before: set[Any]) -> None:
    if each != before:
        each.clear()
        each |= before


def _restore_cell(cell: CellType, before: object) -> None:
    try:
        if cell.cell_contents is before:
            return
    except ValueError:
        pass
    cell.cell_contents = before


def _restore_item(names: dict[str, Any], name: str, before: object) -> None:
    if name not in names or names[name] is not before:
        names[name] = before


def _restore_attribute(kind: type, name: str, before: object) -> None:
    if vars(kind).get(name) is not before:
        setattr(kind, name, before)
