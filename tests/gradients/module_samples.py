"""PyTorch's own list of modules (``module_db``), a few inputs of each, and what is wrong with their gradients.

python tests/gradients/module_samples.py NAME ...     # what is wrong with the modules of these names
"""

import copy
import itertools
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from enlarge import changed, larger
from measure import FIFTH, Gradient, compressor, flat, mean_fault, noise_fault, reference
from operator_samples import told
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map
from trials import Given, is_differentiable

MANY = 150

EXCEPTIONS: dict[str, str] = {}
"""Modules that may fail, and the reason in a sentence for users."""


def modules() -> list[Any]:
    """All modules of float32 that are trained."""
    from torch.testing._internal.common_modules import module_db

    # Importing the list freezes the flags of backends for the whole process.
    torch.backends.__dict__["__allow_nonbracketed_mutation_flag"] = True
    return [info for info in module_db if torch.float32 in info.supported_dtypes("cpu")]


def inputs_of(info: Any) -> list[Any]:
    """The first input and the last."""
    torch.manual_seed(0)
    arguments = {"dtype": torch.float32, "requires_grad": True, "training": True}
    found = list(info.module_inputs_func(info, device="cpu", **arguments))
    found = [sample for sample in found if sample.forward_input is not None]
    return found[:1] + found[1:][-1:]


def saves(gradient: Gradient) -> int:
    """How many tensors one step saves."""
    count = itertools.count()
    gradient(
        torch.autograd.graph.saved_tensors_hooks(lambda tensor: (next(count), tensor.detach()), lambda kept: kept[1])
    )
    return next(count)


def measured(info: Any, sample: Any) -> tuple[nn.Module, Gradient, torch.Tensor] | None:
    """The module, its gradient to parameters and inputs, and plain autograd's; None if that is zero or not finite."""
    made = sample.constructor_input
    given = (sample.forward_input.args, sample.forward_input.kwargs)
    unchanged = changed(given, lambda x: x, lambda x: False)
    for arguments in (*larger(given), unchanged):
        torch.manual_seed(1)
        module = info.module_cls(*made.args, **made.kwargs).train()
        gradient = runner(module, arguments)
        try:
            if saves(gradient) > MANY and arguments is not unchanged:  # a sequence that became too long
                continue
            g0, fault = reference(gradient)
        except (RuntimeError, ValueError, IndexError, AssertionError):
            continue
        assert not fault, f"{info.name}: {fault}"
        if g0.isfinite().all() and g0.any():
            return module, gradient, g0
    return None


def runner(module: nn.Module, arguments: Any) -> Gradient:
    """One step of the module: buffers and random numbers are the same in every run."""
    state: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(11)
    weights: list[torch.Tensor] = []
    inputs = [x for x in tree_leaves(arguments) if is_differentiable(x)]

    def gradient(context: AbstractContextManager) -> torch.Tensor:
        if state:
            module.load_state_dict(state)
        torch.default_generator.manual_seed(7)
        given = tree_map(lambda x: Given.apply(x) if is_differentiable(x) else x, arguments)
        with context:
            result = module(*given[0], **given[1])
        outputs = [x for x in tree_leaves(result) if is_differentiable(x)]
        if not state:
            state.update(copy.deepcopy(module.state_dict()))
        if not weights:
            weights.extend(torch.randn(x.shape, generator=generator) for x in outputs)
        leaves = [*module.parameters(), *inputs]
        found = torch.autograd.grad(outputs, leaves, weights, allow_unused=True)
        return flat(torch.zeros_like(x) if g is None else g for g, x in zip(found, leaves, strict=True))

    return gradient


def faults_of(info: Any) -> Iterator[str]:
    """What is wrong with a module, by input."""
    for number, sample in enumerate(inputs_of(info)):
        found = measured(info, sample)
        for fault in faults_of_module(*found) if found else ():
            yield f"{info.name} input {number}: {fault}"


def faults_of_module(module: nn.Module, gradient: Gradient, g0: torch.Tensor) -> Iterator[str]:
    """What is wrong: with the noise at 8 bits and the mean at 4."""
    if fault := told(lambda: noise_fault(gradient(compressor(module, 8)), g0, FIFTH)):
        yield f"8 bits: {fault}"
    seeds = (8, 32) if saves(gradient) > MANY else (16, 256)
    if fault := told(lambda: mean_fault(lambda seed: gradient(compressor(module, 4, seed)), g0, *seeds)):
        yield f"4 bits: {fault}"


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for wanted in modules():
        if wanted.name in sys.argv[1:]:
            print(wanted.name, *(list(faults_of(wanted)) or ["right"]), sep="\n  ")
