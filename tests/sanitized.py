"""A small training of each kind, for kernels that are built with sanitizers: ``make asan``.

Whatever a kernel reads or writes past its memory ends the process with a report. Sizes are odd on purpose.
"""

import tempfile
import warnings

import torch
from torch import nn

import gact

STEPS = 3


def attends():
    layer = nn.TransformerEncoderLayer(36, 3, 52, 0.1, activation="gelu", batch_first=True, norm_first=True)
    return nn.Sequential(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), nn.Linear(36, 7))


def convolves():
    return nn.Sequential(
        *(nn.Conv2d(3, 13, 3), nn.BatchNorm2d(13), nn.ReLU6(), nn.MaxPool2d(2)),
        *(nn.Conv2d(13, 13, 3, groups=13), nn.GroupNorm(1, 13), nn.Hardswish(), nn.Dropout(0.2)),
        *(nn.Conv2d(13, 9, 3, stride=2), nn.LeakyReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )


class Recurs(nn.Module):
    """A fused kernel and a cell that runs step by step."""

    def __init__(self):
        super().__init__()
        self.lstm, self.cell = nn.LSTM(11, 17, batch_first=True), nn.GRUCell(17, 19)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):  # not every machine has this layer in bfloat16
            found, state = self.lstm(x)[0], x.new_zeros(len(x), 19)
        for at in range(found.shape[1]):
            state = self.cell(found[:, at], state.to(found.dtype))
        return state


def perceives():
    return nn.Sequential(nn.Linear(301, 33), nn.Softplus(), nn.Linear(33, 33), nn.SiLU(), nn.Linear(33, 5), nn.Tanh())


def bags(size):
    """Bags of words: mostly zero, and some of that with a sign."""
    return torch.randn(size) * (torch.rand(size) < 0.06)


NETWORKS = {
    "transformer": (attends, lambda: torch.randn(5, 23, 36), {}),
    "convolutions": (convolves, lambda: torch.randn(3, 3, 29, 31), {}),
    "recurrent": (Recurs, lambda: torch.randn(5, 13, 11), {"checkpoint": ["lstm"]}),
    "sparse data": (perceives, lambda: bags((67, 301)), {}),
}
BITS = (1, 2, 3, 5, 8)


def train(make, data, low, **options):
    """A few steps; sensitivities are measured in the second."""
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    c = gact.Compressor(model, min_bytes=0, **options)
    for _ in range(STEPS):
        with c, torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss = model(data()).float().logsumexp(-1).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert torch.isfinite(loss)
    return c.report()


def main():
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    for name, (make, data, options) in NETWORKS.items():
        for low in (False, True):
            for at, bits in enumerate(BITS):
                with tempfile.TemporaryDirectory() as folder:
                    offload = f"disk:{folder}" if at % 2 else None
                    report = train(make, data, low, bits=bits, group_size=(32, 256)[at % 2], offload=offload, **options)
                print(f"{name}, {'bfloat16' if low else 'float32'}, {bits} bits: {report.ratio:.1f}x", flush=True)


if __name__ == "__main__":
    main()
