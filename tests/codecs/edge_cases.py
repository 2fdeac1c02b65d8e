"""Regions in every form, and what runs a backward on decoded tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from gact.codecs import forms
from gact.codecs.forms import Form
from gact.codecs.groups import Groups

Case = tuple[Tensor, Form | None]
Shape = Callable[..., Tensor]


def draw(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, generator=torch.Generator().manual_seed(seed))


def node_of(output: Tensor, name: str) -> Any:
    """The node of a class, nearest to an output."""
    queue = [output.grad_fn]
    while queue:
        node = queue.pop(0)
        if type(node).__name__ == name:
            return node
        queue += [earlier for earlier, _ in getattr(node, "next_functions", ()) if earlier is not None]
    raise LookupError(name)


def code_of(case: Case, bits: int = 8, group_size: int = 256, seed: int = 3) -> Groups:
    return forms.encode(case[0], bits, group_size, seed, case[1])


def decoded(code: Groups, region: Tensor) -> Tensor:
    return code.decode(tuple(region.shape), region.stride())


def norm_case(x: Tensor, run: Callable[[Tensor], Tensor], name: str) -> Case:
    """The input of a normalisation with the form that its node gives."""
    return x, forms.normalised_by(node_of(run(x.detach().requires_grad_()), name))


def gradient(run: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor, code: Groups | None, saved: Tensor) -> Tensor:
    """Gradient of ``x`` where what is saved of the values of ``saved`` comes back from a code, if there is one."""

    def unpack(held: Tensor | None) -> Tensor:
        return decoded(code, saved) if held is None else held  # type: ignore[arg-type]

    def pack(tensor: Tensor) -> Tensor | None:
        same = tensor.shape == saved.shape and tensor.stride() == saved.stride() and torch.equal(tensor, saved)
        return None if code is not None and same else tensor

    x = x.detach().requires_grad_()
    with saved_tensors_hooks(pack, unpack):
        output = run(x)
    (found,) = torch.autograd.grad(output, x, grad)
    return found


def noise(found: Tensor, exact: Tensor) -> float:
    """Squared error of a gradient against its own size."""
    return float((found.double() - exact.double()).square().sum() / exact.double().square().sum())


def quiet_rows(*size: int) -> Tensor:
    """Rows of ordinary size, one of zeros, a small and a large one."""
    x = draw(*size)
    rows = x.view(-1, size[-1])
    rows[1], rows[4], rows[6] = 0, rows[4] * 1e-4, rows[6] * 1500
    return x


def channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:])


def images() -> Tensor:
    """Channels from 1e-4 to 1e4, of 63 pixels."""
    return draw(5, 12, 7, 9) * torch.logspace(-4, 4, 12)[:, None, None]


def images_of_channels() -> Tensor:
    """Channels from 1e-2 to 1e2, innermost in memory."""
    return draw(820, 320) * torch.logspace(-2, 2, 320)[torch.randperm(320, generator=torch.Generator().manual_seed(2))]


def log_probabilities(*size: int, dim: int, loss: float | None = None) -> Tensor:
    """Of random logits, or of those of a classifier that is sure."""
    logits = draw(*size).movedim(dim, -1).clone()
    if loss is not None:
        target = torch.randint(0, size[dim], (*logits.shape[:-1], 1), generator=torch.Generator().manual_seed(1))
        rest = logits.scatter(-1, target, -torch.inf).logsumexp(-1, keepdim=True)
        logits.scatter_(-1, target, rest - torch.log(torch.tensor(loss)))
    return F.log_softmax(logits, -1).movedim(-1, dim).contiguous()


def sure(*size: int, dim: int) -> Tensor:
    return log_probabilities(*size, dim=dim, loss=1e-4)


def batch_norm(training: bool) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(12)
    norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
    return norm.train(training)


CASES: dict[str, Callable[[], Case]] = {
    "rows": lambda: (quiet_rows(37, 192), None),
    "rows, transposed": lambda: (quiet_rows(37, 192).t(), None),
    "rows of images": lambda: (images(), None),
    "columns": lambda: (images_of_channels(), None),
    "rows, long": lambda: (quiet_rows(9, 1003), None),
    "layer norm": lambda: norm_case(quiet_rows(8, 9, 192), layer_norm, "NativeLayerNormBackward0"),
    "layer norm, permuted": lambda: norm_case(images().permute(0, 2, 3, 1), layer_norm, "NativeLayerNormBackward0"),
    "batch norm": lambda: norm_case(images(), batch_norm(True), "NativeBatchNormBackward0"),
    "batch norm, channels last": lambda: norm_case(
        channels_last(images()), batch_norm(True), "NativeBatchNormBackward0"
    ),
    "batch norm, running": lambda: norm_case(images(), batch_norm(False), "NativeBatchNormBackward0"),
    "batch norm of vectors": lambda: norm_case(
        images()[:, :, 0, 0].contiguous(), nn.BatchNorm1d(12), "NativeBatchNormBackward0"
    ),
    "group norm": lambda: norm_case(images(), nn.GroupNorm(3, 12), "NativeGroupNormBackward0"),
    "group norm, channels last": lambda: norm_case(
        channels_last(images()), nn.GroupNorm(3, 12), "NativeGroupNormBackward0"
    ),
    "log-softmax": lambda: (log_probabilities(40, 100, dim=1), forms.log_probabilities(1)),
    "log-softmax, long": lambda: (log_probabilities(7, 1003, dim=1), forms.log_probabilities(-1)),
    "log-softmax of images": lambda: (sure(2, 21, 15, 17, dim=1), forms.log_probabilities(1)),
    "log-softmax of large images": lambda: (sure(2, 5, 43, 51, dim=1), forms.log_probabilities(1)),
    "log-softmax, channels last": lambda: (channels_last(sure(2, 21, 15, 17, dim=1)), forms.log_probabilities(1)),
    "log-softmax over 300 of the first": lambda: (sure(300, 5, 7, dim=0), forms.log_probabilities(0)),
    "two classes": lambda: (sure(900, 2, dim=1), forms.log_probabilities(1)),
    "softmax": lambda: (sure(40, 100, dim=1).exp(), forms.probabilities(1)),
    "softmax, long": lambda: (sure(27, 1003, dim=1).exp(), forms.probabilities(-1)),
    "softmax over the first": lambda: (sure(300, 5, 7, dim=0).exp(), forms.probabilities(0)),
    "sine": lambda: (draw(50, 77) * 1e4, forms.slope("cosine")),
    "cosine": lambda: (draw(50, 77) * 1e4, forms.slope("sine")),
    "tanh": lambda: ((3 * draw(50, 77)).tanh(), forms.slope("tanh")),
    "sigmoid": lambda: ((8 * draw(50, 77)).sigmoid(), forms.slope("sigmoid")),
}


SLOPES = {
    "sine": torch.cos,
    "cosine": torch.sin,
    "tanh": lambda t: 1 - t.square(),
    "sigmoid": lambda s: s * (1 - s),
}


def read(name: str, values: Tensor) -> Tensor:
    """What backward reads of decoded values, in which they are unbiased; in float64."""
    values = values.double()
    if name.startswith(("log-softmax", "two")):
        return values.exp()
    return SLOPES[name](values) if name in SLOPES else values
