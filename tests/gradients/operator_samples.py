"""PyTorch's own list of operators (``op_db``), a few samples of each, and what is wrong with their gradients.

python tests/gradients/operator_samples.py NAME ...     # what is wrong with the operators of these names
"""

import itertools
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy
import torch
from measure import FIFTH, Gradient, compressor, mean_fault, noise_fault, reference
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map
from trials import Trial, is_differentiable

LOOKED_AT, LARGEST, SAMPLES = 16, 4096, 2

EXCEPTIONS: dict[str, str] = {}
"""Operators that may fail, and the reason in a sentence for users."""


def operators() -> list[Any]:
    """All operators of float32 with a derivative."""
    from torch.testing._internal.common_methods_invocations import op_db

    # Importing the list freezes the flags of backends for the whole process.
    torch.backends.__dict__["__allow_nonbracketed_mutation_flag"] = True
    return [op for op in op_db if op.supports_autograd and torch.float32 in op.supported_backward_dtypes("cpu")]


def name_of(op: Any) -> str:
    """The operator's name, with that of its variant."""
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


def size_of(sample: Any) -> int:
    """Elements of the tensors that ask for gradients."""
    return sum(x.numel() for x in tree_leaves((sample.input, sample.args, sample.kwargs)) if is_differentiable(x))


def signature(sample: Any) -> str:
    """What tells the call of a sample from another, beside sizes."""
    return str(tree_map(lambda x: x.ndim if isinstance(x, Tensor) else x, (sample.input, sample.args, sample.kwargs)))


def trials(op: Any) -> list[Trial]:
    """The largest sample with a finite gradient that is not zero, and the largest that is called otherwise."""
    torch.manual_seed(0)
    random.seed(0)
    numpy.random.seed(0)
    # The public way to samples seeds each anew, which formats a traceback.
    samples = list(itertools.islice(op.sample_inputs_func(op, "cpu", torch.float32, True), LOOKED_AT))
    samples = sorted((sample for sample in samples if 0 < size_of(sample) <= LARGEST), key=size_of, reverse=True)
    found: dict[str, Trial] = {}
    for sample in samples:
        called = signature(sample)
        if called not in found and (size_of(sample) > 1 or not found):
            trial = Trial(op, sample)
            if trial.is_worth_it():
                found[called] = trial
        if len(found) == SAMPLES:
            break
    return list(found.values()) or [Trial(op, sample) for sample in samples[:1]]


def faults_of_trial(trial: Trial, widths: Iterable[int] = (4, 2)) -> Iterator[str]:
    """What is wrong: with the noise at 8 bits, with the mean at other widths, with double backward at 8."""
    g0, fault = reference(trial.once)
    if fault:
        yield fault
        return
    if (fault := told(lambda: noise_fault(trial.once(compressor(None, 8)), g0, FIFTH))) and not trial.cancels("once"):
        yield f"8 bits: {fault}"
    for bits in widths:
        if fault := told(lambda bits=bits: mean_fault(lambda seed: trial.once(compressor(None, bits, seed)), g0)):
            yield f"{bits} bits: {fault}"
    if trial.op.supports_gradgrad and is_twice_differentiable(trial):
        fault = told(lambda: second_step_fault(trial))
        if fault and not trial.cancels("twice"):
            yield f"double: {fault}"


def is_twice_differentiable(trial: Trial) -> bool:
    """Whether plain autograd has a second derivative here."""
    try:
        return bool(trial.twice(nullcontext()).numel())
    except (RuntimeError, NotImplementedError):
        return False


def second_step_fault(trial: Trial) -> str:
    """What is wrong at 8 bits in the second step of a compressor: by then it knows what an inner backward reads."""
    g0, fault = reference(trial.twice)
    if fault:
        return fault
    context = compressor(None, 8)
    trial.twice(context)
    return noise_fault(trial.twice(context), g0, FIFTH)


def told(look: Callable[[], str]) -> str:
    """What ``look`` finds wrong; an error is a fault."""
    try:
        return look()
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:100]}"


def once_compiled(trial: Trial, backend: str) -> Gradient:
    """Takes the gradient of a trial whose operator is compiled, without what draws random numbers anew.

    Args:
        trial: One operator with one sample.
        backend: As ``torch.compile`` takes it.
    """

    def run(given: Any) -> list[Tensor]:
        return trial.called(given)

    torch._dynamo.reset()
    compiled = torch.compile(run, backend=backend)

    def once(context: AbstractContextManager) -> Tensor:
        given = trial.given()
        torch.default_generator.manual_seed(trial.seed)
        with context:
            outputs = compiled(given)
        return trial.gradient(outputs)

    return once


def faults_of(op: Any) -> list[str]:
    """What is wrong with an operator, by sample; seeds take time, so the second sample does without 4 bits."""
    return [
        f"{name_of(op)} sample {number}: {fault}"
        for number, trial in enumerate(trials(op))
        for fault in faults_of_trial(trial, (2,) if number else (4, 2))
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for wanted in operators():
        if wanted.name in sys.argv[1:] or name_of(wanted) in sys.argv[1:]:
            print(name_of(wanted), *(faults_of(wanted) or ["right"]), sep="\n  ")
