"""Hooks belong to a thread: so does a context, and what one thread does leaves the others alone."""

import threading

import pytest
import torch
from torch import nn

import gact
from saved import roundtrip, save


def run(*functions):
    """Runs functions at the same time, each in a thread; gives their results or raises their first error."""
    results, errors = [None] * len(functions), []

    def call(at):
        try:
            results[at] = functions[at]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call, args=(at,)) for at in range(len(functions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    if errors:
        raise errors[0]
    return results


def train(model, c, barrier, steps=10):
    x, optimizer = torch.randn(32, 32, generator=torch.Generator().manual_seed(1)), torch.optim.SGD(model.parameters())
    for _ in range(steps):
        barrier.wait(60)
        with c:
            loss = model(x).square().mean()
        barrier.wait(60)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return [parameter.detach().clone() for parameter in model.parameters()]


def models(count):
    built = [nn.Sequential(nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 8)) for _ in range(count)]
    for model in built:
        model.load_state_dict(built[0].state_dict())
    return built


def test_two_threads_each_with_its_compressor():
    barrier = threading.Barrier(2)
    parts = [(model, gact.Compressor(model, min_bytes=0)) for model in models(2)]
    one, other = run(*(lambda model=model, c=c: train(model, c, barrier) for model, c in parts))
    assert all(map(torch.equal, one, other))
    assert parts[0][1].report() == parts[1][1].report()


def test_threads_do_not_change_what_a_compressor_does():
    first, second, third = models(3)
    alone = train(first, gact.Compressor(first, min_bytes=0), threading.Barrier(1))
    barrier = threading.Barrier(2)
    together, _ = run(
        lambda: train(second, gact.Compressor(second, min_bytes=0), barrier),
        lambda: train(third, gact.Compressor(third, min_bytes=0, bits=2), barrier),
    )
    assert all(map(torch.equal, alone, together))


def test_two_threads_share_a_compressor():
    barrier, c = threading.Barrier(2), gact.Compressor(bits=8, min_bytes=0)
    plain, *pair = models(3)
    exact = train(plain, torch.enable_grad(), threading.Barrier(1))
    for result in run(*(lambda model=model: train(model, c, barrier) for model in pair)):
        for one, other in zip(result, exact, strict=True):
            assert torch.allclose(one, other, atol=1e-4)


def test_counts_of_a_shared_compressor_add_up():
    c, barrier, threads, saves = gact.Compressor(min_bytes=0), threading.Barrier(4), 4, 200

    def forward():
        x = torch.randn(64)
        barrier.wait(60)
        with c:
            outputs = [save(x) for _ in range(saves)]
        barrier.wait(60)
        return outputs

    outputs = run(*[forward] * threads)
    assert c.state_dict()["steps"] == 1
    report = c.report()
    assert sum(row.count for row in report.rows) == threads * saves
    assert sum(row.duplicates for row in report.rows) == threads * (saves - 1)
    assert report.plain_bytes == threads * 64 * 4
    assert len(outputs) == threads


def test_a_thread_without_a_context_is_left_alone():
    x, inside, done = torch.randn(64, 32), threading.Event(), threading.Event()

    def compressing():
        with gact.Compressor(min_bytes=0):
            inside.set()
            done.wait(60)
            result = save(x)  # before torch 2.13 its node does not keep what it holds once it is gone
            return result.grad_fn.saved_tensors[0]

    def plain():
        inside.wait(60)
        module = nn.Sequential(nn.Linear(32, 32), nn.Tanh())
        output = module(x)
        saved = output.grad_fn.next_functions[0][0]._saved_mat1
        done.set()
        return saved

    compressed, kept = run(compressing, plain)
    assert kept.data_ptr() == x.data_ptr()
    assert compressed.data_ptr() != x.data_ptr()


def test_modules_of_another_thread_are_not_in_the_report():
    model, other = models(2)
    inside, done = threading.Event(), threading.Event()
    c = gact.Compressor(model, min_bytes=0)

    def compressing():
        with c:
            hidden = model[0](torch.randn(16, 32))
            inside.set()
            done.wait(60)
            return hidden.tanh()

    def plain():
        inside.wait(60)
        other(torch.randn(16, 32))
        done.set()

    run(compressing, plain)
    assert [(row.module, row.op) for row in c.report().rows] == [("0", "linear"), ("", "tanh")]


def test_backward_in_another_thread():
    model, x = models(1)[0], torch.randn(32, 32)
    with gact.Compressor(model, bits=8, min_bytes=0):
        loss = model(x).square().mean()
    run(loss.backward)
    got = model[0].weight.grad.clone()
    model.zero_grad()
    model(x).square().mean().backward()
    assert torch.nn.functional.cosine_similarity(got.flatten(), model[0].weight.grad.flatten(), 0) > 0.999


def test_a_context_of_one_thread_closed_while_another_is_open():
    c, opened, closed = gact.Compressor(min_bytes=0), threading.Event(), threading.Event()

    def long():
        with c:
            opened.set()
            closed.wait(60)
            return save(torch.randn(64, 32))

    def short():
        opened.wait(60)
        got = roundtrip(c, torch.randn(64, 32))
        closed.set()
        return got

    output, got = run(long, short)
    assert got.shape == output.grad_fn.saved_tensors[0].shape == (64, 32)
    assert c.report().coverage == 100


def test_transforms_in_another_thread_are_not_disturbed():
    opened, done = threading.Event(), threading.Event()

    def compressing():
        with gact.Compressor(min_bytes=0) as c:
            opened.set()
            done.wait(60)
            save(torch.randn(64, 32))
        return c.report().coverage

    def transforming():
        opened.wait(60)
        gradient = torch.func.grad(lambda v: v.square().sum())(torch.ones(3))
        done.set()
        return gradient

    coverage, gradient = run(compressing, transforming)
    assert coverage == 100
    assert torch.equal(gradient, torch.full((3,), 2.0))


def test_errors_of_a_thread_are_seen():
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 // 0)
