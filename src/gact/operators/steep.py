"""Steep functions, and what was saved before them that must be exact.

NOTE: Relative precision
Near its pole a logarithm, a division or a root multiplies the gradient by a number that grows as its argument shrinks.
Softmax, sigmoid, tanh, an exponential, a product or a power multiply it by what they have saved, which shrinks as well,
and the two cancel. Codes have one step for all numbers of a group, so of a small one nothing is left, and nothing
cancels. So what lies behind a steep function by selecting and linear ops stays exact. Logarithms look through sums and
matrix products too. Divisions and roots do not: the greatest of a row is part of its sum, of its norm and of the sum
of its exponentials, which are then far from the pole wherever the greatest is not small.
Functions of matrices (inverses, solutions, factors, determinants) multiply the gradient by the condition number. They
look as far as logarithms do, and so do acos, asin, atanh and acosh, whose pole is at one: what is near it may be a sum
of any terms, as the cosine of two vectors and the trace of a rotation are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import Node

_MOST = 256
"""Nodes behind one steep function that are looked at."""

_LOGARITHMS = """
    BinaryCrossEntropyBackward0 DigammaBackward0 LgammaBackward0 Log10Backward0 Log1PBackward0 Log2Backward0
    LogBackward0 LogitBackward0 SpecialEntrBackward0 XlogyBackward1
"""
_POLES = """
    ErfinvBackward0 ReciprocalBackward0 RsqrtBackward0 SpecialNdtriBackward0 SqrtBackward0
"""
_POLES_AT_ONE = "AcosBackward0 AcoshBackward0 AsinBackward0 AtanhBackward0"
_MATRIX_FUNCTIONS = """
    CholeskyBackward0 CholeskyInverseBackward0 LinalgCholeskyExBackward0 LinalgDetBackward0 LinalgEigBackward0
    LinalgEighBackward0 LinalgInvExBackward0 LinalgLstsqBackward0 LinalgLuFactorExBackward0 LinalgLuSolveBackward0
    LinalgPinvBackward0 LinalgSlogdetBackward0 LinalgSolveExBackward0 LinalgSolveTriangularBackward0
    LinalgSvdBackward0
"""
"""Their gradient is multiplied by the condition number, in the directions where the matrix is small."""
_BACK_AT = {
    **dict.fromkeys(_MATRIX_FUNCTIONS.split(), 0),
    "CholeskySolveBackward0": 1,
    "TriangularSolveBackward0": 1,
    "Atan2Backward0": 0,
    **dict.fromkeys(_LOGARITHMS.split(), 0),
    **dict.fromkeys(_POLES.split(), 0),
    **dict.fromkeys(_POLES_AT_ONE.split(), 0),
    "XlogyBackward0": 1,
    "SpecialXlog1PyBackward0": 1,
    "DivBackward0": 1,
    "AddcdivBackward0": 2,
    "PowBackward0": 0,
}
"""Which argument each is steep in."""
_DIVISIONS = frozenset({"AddcdivBackward0", "DivBackward0"})
_OF_MATRICES = frozenset([*_MATRIX_FUNCTIONS.split(), "CholeskySolveBackward0", "TriangularSolveBackward0"])
_SUMMING = _OF_MATRICES.union(_LOGARITHMS.split(), _POLES_AT_ONE.split(), ["XlogyBackward0", "SpecialXlog1PyBackward0"])
_BOTH = frozenset({"Atan2Backward0"})
"""Steep in their second argument too."""

_OWN = """
    CeluBackward0 EluBackward0 Exp2Backward0 ExpBackward0 Expm1Backward0 MaskedSoftmaxBackward0 PowBackward2
    SafeSoftmaxBackward0 SigmoidBackward0 SoftmaxBackward0 SoftplusBackward0 TanhBackward0
"""
_PRODUCTS = "AddcmulBackward0 DivBackward0 LerpBackward1 LinalgCrossBackward0 MulBackward0 PowBackward0"
MATRICES = frozenset({"BmmBackward0", "DotBackward0", "MmBackward0", "MvBackward0"})
OWN = frozenset(_OWN.split())
"""Functions that are not steep themselves and multiply the gradient by their own result, or by what it tells."""
PRODUCTS = MATRICES.union(_PRODUCTS.split())
"""Ops that multiply the gradient by their other argument, or by a power of the one they have."""
MULTIPLYING = OWN | PRODUCTS
_BOUNDED = frozenset({"ExpBackward0", "Exp2Backward0", "SigmoidBackward0"})
"""Where many of them are added before a logarithm, each argument counts by its share: the largest count for nothing,
and it is they who would set the step of a square or a product (densities, distribution functions)."""

_THROUGH = """
    Abs Add Alias Amax Amin AsStrided Cat Clamp ClampMax ClampMin Clone ConstantPadNd Diagonal Expand Flip Gather
    Hardtanh Index IndexPut IndexSelect Kthvalue MaskedFill MaskedScatter MaskedSelect Max Maximum Min Minimum NanToNum
    NativeDropout Neg Permute Relu Repeat ReshapeAlias Roll Rsub Scatter Select Slice Sort Split SplitWithSizes Squeeze
    Stack Sub T Take Threshold ToCopy Topk Transpose Tril Triu Unbind UnsafeSplit UnsafeView Unsqueeze View Where
"""
_SUMS = """
    Cumprod Cumsum IndexAdd LinalgVectorNorm Mean Norm Prod Reciprocal Rsqrt ScatterAdd Sqrt Sum
"""


def _numbered(text: str) -> frozenset[str]:
    """Names of nodes, of all overloads."""
    return frozenset(f"{name}Backward{number}" for name in text.split() for number in range(5))


ON_THE_WAY = _numbered(_THROUGH) | {"CopySlices"}
_SUMMED = _numbered(_SUMS)

_OF_TENSORS = """
    acos acosh addcdiv arccos arccosh arcsin arctan2 arctanh asin atan2 atanh cholesky cholesky_inverse cholesky_solve
    det digamma div divide erfinv float_power inverse lgamma log log10 log1p log2 logdet logit lu_solve pinverse pow
    reciprocal rsqrt slogdet sqrt svd triangular_solve true_divide xlogy __div__ __idiv__ __ipow__ __itruediv__ __pow__
    __rdiv__ __rtruediv__ __truediv__
"""
_LINALG = """
    cholesky cholesky_ex cond det eig eigh eigvals eigvalsh inv inv_ex lstsq lu_factor lu_factor_ex lu_solve
    matrix_norm matrix_power pinv slogdet solve solve_ex solve_triangular svd svdvals tensorinv tensorsolve
"""
_SPECIAL = "digamma entr erfinv gammaln log1p logit ndtri psi xlog1py xlogy"


def _functions() -> Iterable[Callable[..., Any]]:
    for name in _OF_TENSORS.split():
        for place in (torch, Tensor):
            for each in (name, f"{name}_"):
                if hasattr(place, each):
                    yield getattr(place, each)
    yield from (getattr(torch.linalg, name) for name in _LINALG.split())
    yield from (getattr(torch.special, name) for name in _SPECIAL.split())
    yield from (F.binary_cross_entropy, F.gaussian_nll_loss, F.poisson_nll_loss)


STEEP: frozenset[Any] = frozenset(_functions())
"""Functions of torch after which it is looked what they are steep in."""
_PARTS = 12
"""Nodes of a function that is made of several."""


def steep_nodes(result: Any) -> list[Node]:
    """The steep nodes of a function that has just run: that of its result, or those a little before it."""
    if isinstance(result, tuple):
        result = next((each for each in result if isinstance(each, Tensor) and each.grad_fn is not None), None)
    node = result.grad_fn if isinstance(result, Tensor) else None
    if node is None:
        return []
    if _is_steep(node):
        return [node]
    if node.name() in _BACK_AT:
        return []
    return parts_of(node, _is_steep)


def parts_of(node: Node, is_wanted: Callable[[Node], bool]) -> list[Node]:
    """The nodes of a function that is made of several which are wanted: its last node, or those a little before it.

    Args:
        node: The last node.
        is_wanted: Whether a node is; what lies before it is no longer looked at.
    """
    found, coming = [], [node]
    for _ in range(_PARTS):
        if not coming:
            break
        node = coming.pop()
        if is_wanted(node):
            found.append(node)
        else:
            coming.extend(earlier for earlier, _ in node.next_functions if earlier is not None)
    return found


def _is_steep(node: Node) -> bool:
    name = node.name()
    if name not in _BACK_AT:
        return False
    if name == "PowBackward0":
        exponent = getattr(node, "_saved_exponent", None)
        return isinstance(exponent, (int, float)) and exponent < 1 and exponent != 0
    return len(node.next_functions) > _BACK_AT[name] and node.next_functions[_BACK_AT[name]][0] is not None


def multiplying_behind(node: Node) -> tuple[list[Node], bool]:
    """The nodes behind a steep one that multiply the gradient by what they have saved, and whether that is sure.

    What is divided is as small as what divides it, where the ratio of the two is ordinary. So it is among them, but
    where nothing else is, the values of the divisor have to tell.

    Args:
        node: A steep node.
    """
    name = node.name()
    sums, at = name in _SUMMING, _BACK_AT[name]
    found = _behind([edge for edge, _ in node.next_functions[at : at + 1 + (name in _BOTH)]], sums)
    if name not in _DIVISIONS:
        return found, True
    return [node, *found, *_behind([node.next_functions[at - 1][0]], sums)], bool(found)


def _behind(nodes: Iterable[Node | None], sums: bool) -> list[Node]:
    found: list[Node] = []
    coming, seen = [(node, sums) for node in nodes if node is not None], set[Node]()
    while coming and len(seen) < _MOST:
        node, sums = coming.pop()
        if node in seen:
            continue
        seen.add(node)
        name = node.name()
        if name in OWN:
            found.append(node)
            if not sums or name not in _BOUNDED:
                continue
            sums = False
        elif name in PRODUCTS:
            if name in MATRICES and (is_layer(node) or not sums):
                continue
            found.append(node)
        elif name not in ON_THE_WAY and not (sums and name in _SUMMED):
            continue
        edges = node.next_functions if sums or name != "DivBackward0" else node.next_functions[:1]
        coming.extend((earlier, sums) for earlier, _ in edges if earlier is not None)
    return found


def is_layer(node: Node) -> bool:
    """Whether a factor of a matrix product is a parameter.

    Args:
        node: The node of the product.
    """
    for earlier, _ in node.next_functions:
        while earlier is not None and earlier.name() in ("TBackward0", "TransposeBackward0", "PermuteBackward0"):
            earlier = earlier.next_functions[0][0]
        if earlier is not None and earlier.name() == "torch::autograd::AccumulateGrad":
            return True
    return False


_LOOKED_AT = {
    "LogBackward0": ("self", 1.0),
    "Log2Backward0": ("self", 1.0),
    "Log10Backward0": ("self", 1.0),
    "Log1PBackward0": ("self", 1.0),
    "DivBackward0": ("other", 1.0),
    "ReciprocalBackward0": ("result", 1.0),
    "SqrtBackward0": ("result", 2.0),
    "RsqrtBackward0": ("result", 2.0),
    **dict.fromkeys(_POLES_AT_ONE.split(), ("self", 1.0)),
}
_NEAR_ONE = 0.1
"""Farther from one than that, what has its pole there is not steep."""


def looked_at(node: Node) -> str:
    """The slot of a steep node whose values tell how steep it is; "" if none does."""
    return _LOOKED_AT.get(node.name(), ("", 0.0))[0]


def tells_of_sums(node: Node) -> bool:
    """Whether the values of a steep node tell how steep it is whatever they are sums of.

    Args:
        node: The node.
    """
    return node.name() in _POLES_AT_ONE.split()


def span(node: Node, value: Tensor) -> float:
    """How many times as large as the least the greatest slope of a steep node is.

    Args:
        node: The node.
        value: What it has in the slot that ``looked_at`` gives.
    """
    if not value.numel():
        return 1.0
    if tells_of_sums(node):
        return math.inf if float((value.detach().abs() - 1).abs().amin()) < _NEAR_ONE else 1.0
    sizes = value.detach().abs() if node.name() != "Log1PBackward0" else (value.detach() + 1).abs()
    least, most = (float(each) for each in sizes.aminmax())
    found = math.inf if not least > 0 else most / least
    return math.pow(found, _LOOKED_AT[node.name()][1])


_FACTORS = {"self": 0, "other": 1}
_LOGARITHMS_THEMSELVES = frozenset({"LogBackward0", "Log2Backward0", "Log10Backward0"})


def is_logarithm(node: Node, slot: str) -> bool:
    """Whether what a product has saved of a factor is a logarithm, times which the other was normalised most likely.

    A divergence is the sum of probabilities times logarithms. What it adds to the gradient of the large ones almost
    cancels, and the rounding of the logarithms, whose step small probabilities set, does not.

    Args:
        node: The node that saves it.
        slot: Its slot.
    """
    if node.name() != "MulBackward0" or slot not in _FACTORS or len(node.next_functions) != 2:
        return False
    factor = node.next_functions[_FACTORS[slot]][0]
    return factor is not None and factor.name() in _LOGARITHMS_THEMSELVES
