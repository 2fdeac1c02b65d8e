"""Two threads that train at once, with a compressor each and with one for both."""

import threading
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from kinds import mlp
from measure import LIMIT, broken, compressor, flat, off
from torch import nn

STEPS = 8


class Worker(threading.Thread):
    """Takes gradients of a network of its own, in step with the others."""

    def __init__(self, number, context, barrier):
        super().__init__()
        torch.manual_seed(number)
        act = (nn.ReLU, nn.GELU)[number % 2]
        self.model = nn.Sequential(mlp(32, 96, 96, act=act), nn.LayerNorm(96), nn.Linear(96, 50))
        self.x, self.y = torch.randn(96, 32), torch.arange(96) % 50
        self.context, self.barrier = context, barrier
        self.plain = self.gradient(nullcontext())
        self.found, self.error = [], None

    def gradient(self, context):
        with context:
            loss = F.cross_entropy(self.model(self.x), self.y)
        return flat(torch.autograd.grad(loss, list(self.model.parameters())))

    def run(self):
        try:
            for _ in range(STEPS):
                self.barrier.wait(60)
                self.found.append(self.gradient(self.context))
        except Exception as error:
            self.error = error
            self.barrier.abort()


@pytest.mark.parametrize("bits", [8, 4, 2])
@pytest.mark.parametrize("together", [False, True], ids=["one each", "one for both"])
def test_two_threads(together, bits):
    barrier, both = threading.Barrier(2), compressor(None, bits)
    workers = [Worker(number, both if together else compressor(None, bits), barrier) for number in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    for worker in workers:
        assert worker.error is None, worker.error
        assert len(worker.found) == STEPS
        assert not any(broken(g, worker.plain) for g in worker.found)
        one = sum(off(g, worker.plain) for g in worker.found) / STEPS
        assert bits not in LIMIT or one <= LIMIT[bits]
        assert one < 1e-4 or off(torch.stack(worker.found).mean(0), worker.plain) <= one / 2


def test_backward_on_another_thread():
    torch.manual_seed(0)
    worker = Worker(0, compressor(None, 8), None)
    with worker.context:
        loss = F.cross_entropy(worker.model(worker.x), worker.y)
    thread = threading.Thread(target=loss.backward)
    thread.start()
    thread.join()
    assert off(flat(p.grad for p in worker.model.parameters()), worker.plain) <= LIMIT[8]
