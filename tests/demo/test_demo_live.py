"""The counter of live bytes, where the answer is known by arithmetic."""

import pytest
import torch
from torch import nn

import gact
from gact.demo.live import LiveBytes

N = 40_000
SIZE = 4 * N


def chain(x, length):
    for _ in range(length):
        x = x.mul(0.5).exp()
    return x.sum()


def test_counts_results_and_forgets_the_dead():
    with LiveBytes([]) as counter:
        counter.begin("one")
        a = torch.zeros(N)
        b = a + 1
        counter.begin("two")
        del a
        c = b * 2
    timeline = counter.timeline()
    assert timeline.phases == ("one", "two")
    assert timeline.samples == ((0, SIZE, 2 * SIZE), (2 * SIZE, 2 * SIZE))
    assert timeline.peak == 2 * SIZE
    del b, c
    assert counter.live_bytes == 0


def test_views_and_in_place_results_share_a_storage():
    x = torch.zeros(N)
    with LiveBytes([x, x.view(2, -1)]) as counter:
        counter.begin("all")
        x.add_(1).view(4, -1).t()
    assert counter.timeline().peak == SIZE


def test_a_storage_that_grows_counts_with_its_new_size():
    x = torch.zeros(N)
    with LiveBytes([x]) as counter:
        counter.begin("all")
        x.resize_(2 * N)
    assert counter.live_bytes == 2 * SIZE


def test_plain_autograd_keeps_one_result_per_exp():
    x = torch.zeros(N, requires_grad=True)
    with LiveBytes([x]) as counter:
        counter.begin("forward")
        loss = chain(x, length=5)
        after_forward = counter.live_bytes
        counter.begin("backward")
        loss.backward()
    assert after_forward == 6 * SIZE + loss.nbytes
    assert counter.live_bytes >= 2 * SIZE
    backward = counter.timeline().samples[1]
    assert backward[0] == after_forward
    assert max(backward) <= after_forward + 2 * SIZE + 64
    assert backward[-1] < after_forward / 2


@pytest.mark.parametrize("bits", [8, 2])
def test_compressed_keeps_what_its_report_says(bits):
    x = torch.linspace(-1, 1, N).requires_grad_()
    compressor = gact.Compressor(bits=bits, adaptive=False)
    with LiveBytes([x]) as counter:
        counter.begin("forward")
        with compressor:
            loss = chain(x, length=5)
        after_forward = counter.live_bytes
        report = compressor.report()
        compressor.backward(loss)
    assert report.plain_bytes == 5 * SIZE
    assert after_forward == SIZE + loss.nbytes + report.kept_bytes


def test_sparse_results_are_passed_over():
    with LiveBytes([]) as counter:
        counter.begin("all")
        kept = torch.eye(3).to_sparse()
    assert kept.is_sparse
    assert counter.timeline().peak > 0


def test_optimizer_state_and_gradients_are_seen():
    model = nn.Linear(100, 100, bias=False)
    optimizer = torch.optim.Adam(model.parameters())
    with LiveBytes(model.parameters()) as counter:
        counter.begin("step")
        model(torch.ones(1, 100)).sum().backward()
        optimizer.step()
    assert counter.live_bytes >= 4 * model.weight.nbytes
