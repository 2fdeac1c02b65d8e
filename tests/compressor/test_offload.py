"""Packed data in other places: the same gradients, bit for bit, and less in memory."""

import copy
import errno
import gc
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef

import gact
import gact.packing.offload
from cases import NETWORKS
from gact.store import DirectoryGoneError, DiskFullError, HostStore, spill
from saved import save


class Copies:
    """A transfer that copies at once."""

    def out(self, tensor):
        return tensor.clone()

    def back(self, copy, device):
        return copy.clone(), None

    def wait(self, tensor, arrival):
        pass


@pytest.fixture(params=["host", "disk"])
def offload(request, tmp_path, monkeypatch):
    """The setting for each store; host memory with a transfer that needs no device."""
    if request.param == "disk":
        return f"disk:{tmp_path}"
    monkeypatch.setattr(gact.packing.offload, "open_store", lambda _: HostStore(Copies()))
    return "cpu"


@pytest.fixture
def disk(tmp_path):
    return f"disk:{tmp_path}"


def written(compressor):
    """Waits until everything is on disk."""
    engine = compressor._parts.offload.store._engine
    with engine.changed:
        engine.changed.wait_for(lambda: not engine.waiting)


def steps(model, batches, compressor):
    """Gradients of three steps with the same dropout."""
    torch.manual_seed(1)
    found = []
    for x in batches:
        with compressor:
            loss = model(x).square().mean()
        if isinstance(compressor._parts.offload and compressor._parts.offload.store, gact.store.DiskStore):
            written(compressor)
        loss.backward()
        found += [parameter.grad for parameter in model.parameters()]
        model.zero_grad()
    return found


def equal(got, expected):
    return all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("rules", [(), [gact.Rule(keep=True)], [gact.Rule(bits=8, offload=True)]], ids=str)
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_gradients_are_those_of_the_device_store(network, rules, offload):
    model, batches = network.build(), [network.inputs() for _ in range(3)]
    plain = [rule if rule.keep else gact.Rule(bits=8) for rule in rules]
    expected = steps(copy.deepcopy(model), batches, gact.Compressor(min_bytes=0, rules=plain))
    c = gact.Compressor(min_bytes=0, rules=rules, offload=offload)
    assert equal(steps(model, batches, c), expected)
    assert c.report().offloaded_bytes > 0


def test_the_report_shows_both(offload):
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.ReLU()), torch.randn(128, 64)
    plain, c = gact.Compressor(min_bytes=0), gact.Compressor(min_bytes=0, offload=offload)
    for each in plain, c:
        with each:
            model(x).sum().backward()
    report, before = c.report(), plain.report()
    assert report.kept_bytes + report.offloaded_bytes == before.kept_bytes
    assert report.kept_bytes < 100
    assert report.ratio == before.ratio
    assert f"{report.offloaded_bytes / 2**20:.2f} MiB offloaded" in str(report)
    assert '"offloaded_bytes"' in report.to_json()
    assert "offloaded" not in str(before)


def code_bytes():
    gc.collect()
    tensors = [thing for thing in gc.get_objects() if issubclass(type(thing), torch.Tensor)]
    return sum(thing.nbytes for thing in tensors if thing.dtype in (torch.uint8, torch.int32))


def test_what_is_written_is_not_in_memory(disk):
    before = code_bytes()
    c = gact.Compressor(min_bytes=0, rules=[gact.Rule(op="exp", keep=True)], offload=disk)
    x = torch.randn(256, 256, requires_grad=True) * 1
    with c:
        output = (x.sin() * 2).exp()
        storage = StorageWeakRef(output.untyped_storage())
        total = (output * torch.randn(256, 256)).sum()
    del output
    written(c)
    assert storage.expired()
    assert code_bytes() - before < 1000
    total.backward()


def test_when_the_writer_says_so_the_memory_is_free(disk, monkeypatch):
    c = gact.Compressor(min_bytes=0, rules=[gact.Rule(op="exp", keep=True)], offload=disk)
    engine, storages, freed = c._parts.offload.store._engine, [], []
    announce = engine.changed.notify_all

    def notify_all():
        freed.append(all(storage.expired() for storage in storages))
        announce()

    x = torch.randn(256, 256, requires_grad=True) * 1
    with c, engine.changed:
        output = x.exp()
        storages.append(StorageWeakRef(output.untyped_storage()))
        total = output.sum()
        del output
        monkeypatch.setattr(engine.changed, "notify_all", notify_all)
    written(c)
    assert freed == [True]
    total.backward()


def test_backward_twice_gives_equal_gradients(offload):
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)), torch.randn(128, 64)
    with gact.Compressor(min_bytes=0, offload=offload):
        loss = model(x).square().sum()
    first = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    assert equal(torch.autograd.grad(loss, list(model.parameters())), first)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_a_kept_tensor_that_is_changed_in_place_raises(offload):
    with gact.Compressor(min_bytes=0, rules=[gact.Rule(keep=True)], offload=offload) as c:
        x = torch.randn(64, 64, requires_grad=True) * 1
        output = x.sin()
        assert c.report().offloaded_bytes == x.nbytes
        x.mul_(2)
    with pytest.raises(RuntimeError, match=r"modified by an inplace operation.*gact kept this tensor exactly"):
        output.sum().backward()


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
@pytest.mark.parametrize("view", [lambda x: x, lambda x: x.t(), lambda x: x[:, :40], lambda x: x[3:4].expand(9, 64)])
def test_a_kept_tensor_comes_back_bit_for_bit_in_its_layout(view, offload):
    x = view(torch.randn(64, 64, requires_grad=True) * 1)
    with gact.Compressor(min_bytes=0, rules=[gact.Rule(keep=True)], offload=offload):
        output = save(x)
    (got,) = output.grad_fn.saved_tensors
    assert torch.equal(got, x)
    assert (got.size(), got.stride(), got.dtype) == (x.size(), x.stride(), x.dtype)


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_a_kept_tensor_saved_twice_is_moved_once(offload):
    x = torch.randn(64, 64, requires_grad=True) * 1
    with gact.Compressor(min_bytes=0, rules=[gact.Rule(keep=True)], offload=offload) as c:
        output = save(x, x.t(), x)
    assert c.report().offloaded_bytes == x.nbytes
    assert all(torch.equal(a, b) for a, b in zip(output.grad_fn.saved_tensors, (x, x.t(), x), strict=True))


@pytest.mark.filterwarnings("ignore:gact compressed nothing")
def test_what_comes_back_may_be_written_to(offload):
    x = torch.randn(64, 64, requires_grad=True) * 1
    with gact.Compressor(min_bytes=0, rules=[gact.Rule(keep=True)], offload=offload):
        output = save(x)
    output.grad_fn.saved_tensors[0].zero_()
    assert torch.equal(output.grad_fn.saved_tensors[0], x)


@pytest.mark.filterwarnings("ignore:gact compressed nothing", r"ignore:offload\=")
def test_data_and_weights_stay(offload):
    data, weight = torch.randn(64, 64), nn.Parameter(torch.randn(64, 64))
    with gact.Compressor(min_bytes=0, rules=[gact.Rule(keep=True)], offload=offload) as c:
        output = save(data, weight, weight.t())
    assert c.report().offloaded_bytes == 0
    assert output.grad_fn.saved_tensors[0].data_ptr() == data.data_ptr()


def test_rules_choose_what_is_moved(offload):
    x = torch.randn(64, 64, requires_grad=True)

    def moved(*rules):
        c = gact.Compressor(min_bytes=0, rules=rules, offload=offload)
        with c:
            (x * 1).sin().tanh().sum().backward()
        return {row.op for row in c.report().rows if row.offloaded_bytes}

    assert moved() == {"sin", "tanh"}
    assert moved(gact.Rule(op="sin", offload=True)) == {"sin"}
    assert moved(gact.Rule(op="sin", offload=False)) == {"tanh"}
    assert moved(gact.Rule(op="sin", offload=True), gact.Rule(bits=2)) == {"sin"}


def test_rules_that_agree_are_added_up():
    from gact.packing.rules import Rules
    from gact.records import Site

    site, x = Site("", "sin"), torch.ones(3)
    both = Rules([gact.Rule(bits=2), gact.Rule(offload=True)]).of(site, x)
    assert (both.bits, both.offload) == (2, True)
    both = Rules([gact.Rule(min_bits=2), gact.Rule(max_bits=4, offload=False)]).of(site, x)
    assert (both.min_bits, both.max_bits, both.offload) == (2, 4, False)
    with pytest.raises(ValueError, match="rules contradict each other"):
        Rules([gact.Rule(offload=False), gact.Rule(offload=True)]).of(site, x)


def test_a_rule_without_a_store_is_refused():
    with pytest.raises(
        ValueError, match=r"Rule\(op='sin', offload=True\) has no place to move tensors to. Pass offload="
    ):
        gact.Compressor(rules=[gact.Rule(op="sin", offload=True)])


def test_a_rule_without_an_action():
    with pytest.raises(ValueError, match="a Rule needs an action: keep=True, bits, min_bits, max_bits or offload"):
        gact.Rule(op="sin")


def test_a_setting_that_moves_nothing_says_so():
    c = gact.Compressor(min_bytes=0, offload="cpu")
    words = "offload='cpu' has moved nothing: host memory is for tensors of another device"
    with pytest.warns(UserWarning, match=words), c:
        save(torch.randn(64, 64))
    assert c.report().offloaded_bytes == 0


def test_another_word_is_refused():
    with pytest.raises(ValueError, match="offload must be None, 'cpu', 'disk' or 'disk:' with a directory"):
        gact.Compressor(offload="tape")


def test_a_directory_that_is_gone_is_named_at_once():
    with pytest.raises(DirectoryGoneError, match="/nowhere is not a directory"):
        gact.Compressor(offload="disk:/nowhere")


def test_training_goes_on_after_the_disk_is_full(disk, monkeypatch):
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 8)), torch.randn(128, 64)
    expected = steps(model, [x], gact.Compressor(min_bytes=0))
    c = gact.Compressor(min_bytes=0, offload=disk)

    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "_write_at", fail)
    kept = []

    def forward_until_it_fails():
        while True:
            with c:
                kept.append(model(x).square().mean())

    with pytest.raises(DiskFullError, match="is full"):
        forward_until_it_fails()
    # What was saved before the error is still in memory.
    for loss in kept:
        got = torch.autograd.grad(loss, list(model.parameters()))
        assert equal(got, expected) or loss is not kept[0]  # later ones are rounded by another key
    assert equal(steps(model, [x], gact.Compressor(min_bytes=0)), expected)
    monkeypatch.undo()
    written(c)
    c._parts.offload.store._engine.failure = None
    steps(model, [x], c)


def test_a_copy_has_a_file_of_its_own(disk):
    c = gact.Compressor(min_bytes=0, offload=disk)
    for other in copy.deepcopy(c), pickle.loads(pickle.dumps(c)):
        assert other._parts.offload.store._engine is not c._parts.offload.store._engine
        with other:
            output = save(torch.randn(64, 64))
        assert output.grad_fn.saved_tensors[0].shape == (64, 64)


def test_backward_after_the_compressor_is_gone(disk):
    model, x = nn.Sequential(nn.Linear(64, 64), nn.Tanh()), torch.randn(32, 64)
    c = gact.Compressor(model, bits=8, min_bytes=0, offload=disk)
    with c:
        loss = model(x).sum()
    threads = c._parts.offload.store._engine._threads
    del c
    gc.collect()
    loss.backward()
    assert model[0].weight.grad is not None
    gc.collect()  # autograd holds the pack hook as long as what was packed
    for thread in threads:
        thread.join()


def test_threads_share_a_store(offload):
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())
    c, lock, got = gact.Compressor(min_bytes=0, bits=8, offload=offload), threading.Lock(), []
    x = torch.randn(128, 64)
    expected = torch.autograd.grad(model(x).square().sum(), list(model.parameters()))

    def work():
        for _ in range(3):
            with c:
                loss = model(x).square().sum()
            found = torch.autograd.grad(loss, list(model.parameters()))
            with lock:
                got.append(found)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 9
    for found in got:
        for a, b in zip(found, expected, strict=True):
            assert nn.functional.cosine_similarity(a.flatten(), b.flatten(), 0) > 0.99
