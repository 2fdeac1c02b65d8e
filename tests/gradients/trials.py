"""One operator with one sample of arguments, as gradients that can be measured."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from enlarge import changed, larger
from measure import flat, off
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

# How far float32 may be from float64 before an operator counts as one that cancels: no code of 8 bits is then of use.
CANCELLED = 1e-4**2


class Given(torch.autograd.Function):
    """Copies a leaf: the operator gets an activation, and nothing tells how to make it again."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def is_differentiable(x: Any) -> bool:
    """Whether x is a tensor that asks for a gradient."""
    return isinstance(x, Tensor) and x.requires_grad


class Trial:
    """One operator with one sample, enlarged where that gives a gradient that is finite.

    Args:
        op: Its entry in the list.
        sample: Arguments.

    Attributes:
        op: See above.
        sample: See above.
        arguments: Those of the operator.
        leaves: Tensors among them to which gradients are taken.
        seed: Of the operator's random numbers.
    """

    def __init__(self, op: Any, sample: Any) -> None:
        self.op, self.sample, self.seed = op, sample, 7
        given = (sample.input, sample.args, sample.kwargs)
        for arguments in larger(given):
            self.take(arguments)
            if self.is_worth_it():
                return
        self.take(changed(given, lambda x: x, lambda x: False))

    def take(self, arguments: Any) -> None:
        """Calls the operator with these arguments from now on."""
        self.arguments = arguments
        self.leaves = [x for x in tree_leaves(arguments) if is_differentiable(x)]
        self.weights: list[Tensor] = []

    def is_worth_it(self) -> bool:
        """Whether there is a gradient, and all of it is finite."""
        try:
            gradient = self.once(nullcontext())
        except Exception:
            return False
        return bool(gradient.isfinite().all() and gradient.any())

    def outputs(self, given: Any) -> list[Tensor]:
        """The differentiable results of the operator."""
        # torch.manual_seed formats a traceback, which takes longer than a step.
        torch.default_generator.manual_seed(self.seed)
        return self.called(given)

    def called(self, given: Any) -> list[Tensor]:
        """The same, of whatever random numbers come next."""
        first, positional, keywords = given
        if self.op.gradcheck_wrapper is None:
            result = self.op.get_op()(first, *positional, **keywords)
        else:
            result = self.op.gradcheck_wrapper(self.op.get_op(), first, *positional, **keywords)
        if self.sample.output_process_fn_grad is not None:
            result = self.sample.output_process_fn_grad(result)
        return [x for x in tree_leaves(result) if is_differentiable(x)]

    def once(self, context: AbstractContextManager) -> Tensor:
        """The gradient of a weighted sum of the results."""
        given = self.given()
        with context:
            outputs = self.outputs(given)
        return self.gradient(outputs)

    def gradient(self, outputs: list[Tensor]) -> Tensor:
        """That of a weighted sum of such results."""
        weights = self.weights_of(outputs)
        return self.flat(torch.autograd.grad(outputs, self.leaves, weights, allow_unused=True))

    def twice(self, context: AbstractContextManager) -> Tensor:
        """The gradient of the sum of squares of the gradient, which is taken inside the context."""
        given = self.given()
        with context:
            outputs = self.outputs(given)
            weights = self.weights_of(outputs)
            inputs = [x for x in tree_leaves(given) if is_differentiable(x)]
            firsts = torch.autograd.grad(outputs, inputs, weights, allow_unused=True, create_graph=True)
            parts = [x.abs().square().sum() for x in firsts if is_differentiable(x)]
            if not parts:
                return torch.zeros(0, dtype=torch.float64)
            loss = torch.stack(parts).sum()
        return self.flat(torch.autograd.grad(loss, self.leaves, allow_unused=True))

    def given(self) -> Any:
        """The arguments, of which those that ask for a gradient are activations."""
        return tree_map(lambda x: Given.apply(x) if is_differentiable(x) else x, self.arguments)

    def weights_of(self, outputs: list[Tensor]) -> list[Tensor]:
        """The same random weights in every run."""
        if not self.weights:
            generator = torch.Generator().manual_seed(11)
            for x in outputs:
                drawn = torch.randn(x.shape, dtype=torch.complex64 if x.is_complex() else None, generator=generator)
                self.weights.append(drawn.to(x.dtype))
        return self.weights

    def flat(self, gradients: Any) -> Tensor:
        """One vector; what has no gradient counts as zeros."""
        return flat(torch.zeros_like(x) if g is None else g for g, x in zip(gradients, self.leaves, strict=True))

    def cancels(self, way: str) -> bool:
        """Whether plain autograd's gradient is mostly what float32 rounds, by comparison with float64.

        Args:
            way: ``"once"`` or ``"twice"``.
        """
        exact = Trial.__new__(Trial)
        exact.op, exact.sample, exact.seed = self.op, self.sample, self.seed
        exact.take(tree_map(doubled, self.arguments))
        try:
            g0 = getattr(exact, way)(nullcontext())
        except Exception:
            return False
        g = getattr(self, way)(nullcontext())
        self.seed = 8
        is_random = not torch.equal(getattr(self, way)(nullcontext()), g)
        self.seed = 7
        return not is_random and g.shape == g0.shape and not off(g, g0) < CANCELLED


def doubled(x: Any) -> Any:
    """A tensor in twice the precision."""
    if not isinstance(x, Tensor) or not (x.is_floating_point() or x.is_complex()):
        return x
    wide = torch.complex128 if x.is_complex() else torch.float64
    return x.detach().to(wide).requires_grad_(x.requires_grad)
