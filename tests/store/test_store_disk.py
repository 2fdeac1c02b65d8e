"""The store on disk: what goes in comes out, whatever the order; nothing is lost and nothing stays behind."""

import errno
import gc
import os
import subprocess
import sys
import threading

import pytest
import torch

from gact.store import DamagedError, DirectoryGoneError, DiskFullError, DiskStore, ReadOnlyError, StoreError, spill
from gact.store import disk as disk_module
from gact.store import engine as engine_module

DTYPES = [torch.float32, torch.bfloat16, torch.float64, torch.int64, torch.int16, torch.uint8, torch.bool]


@pytest.fixture
def store(tmp_path):
    store = DiskStore(tmp_path, queue_bytes=2**20, prefetch_bytes=2**18)
    yield store
    store.close()


def written(store):
    """Waits until everything is on disk."""
    engine = store._engine
    with engine.changed:
        engine.changed.wait_for(lambda: not engine.waiting)


def ended(store):
    """Has the threads end and waits for them."""
    store.close()
    for thread in store._engine._threads:
        thread.join()


def same(got, expected):
    return all(
        a.dtype == b.dtype and a.shape == b.shape and torch.equal(a, b) for a, b in zip(got, expected, strict=True)
    )


def make(*sizes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randint(0, 255, (size,), generator=generator, dtype=torch.uint8) for size in sizes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", [(1,), (4095,), (4096,), (3, 5, 7), (), (0,), (1025, 1023)], ids=str)
def test_parts_come_back_bit_for_bit(store, dtype, size):
    parts = ((torch.randn(size) * 100).to(dtype), torch.randn(3), torch.empty(0, dtype=dtype))
    expected = tuple(part.clone() for part in parts)
    ticket = store.put(parts)
    assert same(ticket.load(), expected)
    written(store)
    assert ticket._entry.parts is None
    assert same(ticket.load(), expected)
    assert same(ticket.load(), expected)
    assert ticket.nbytes == ticket._entry.blob.nbytes


def test_a_blob_larger_than_a_write(store, monkeypatch):
    parts = make(3 * engine_module.STAGING_BYTES + 17, 5, engine_module.STAGING_BYTES)
    ticket = store.put(parts)
    written(store)
    assert same(ticket.load(), parts)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("order", ["forward", "reverse", "mixed", "twice"])
def test_every_order_of_loads(tmp_path, order, direct, monkeypatch):
    if not direct:
        monkeypatch.setattr(spill, "_DIRECT", 0)
    store = DiskStore(tmp_path, queue_bytes=2**20, prefetch_bytes=2**17)
    assert direct or not store._engine.file.direct
    for seed in range(3):
        store.begin_step()
        entries = [make(10_000 + 97 * at, at, seed=seed) for at in range(40)]
        tickets = [store.put(parts) for parts in entries]
        written(store)
        numbers = list(range(40))
        if order == "reverse":
            numbers.reverse()
        if order == "mixed":
            numbers = torch.randperm(40, generator=torch.Generator().manual_seed(seed)).tolist()
        for number in numbers * (2 if order == "twice" else 1):
            assert same(tickets[number].load(), entries[number])
    del tickets
    ended(store)


def test_space_is_used_again(store):
    for seed in range(6):
        tickets = [store.put(make(50_000, seed=seed)) for _ in range(10)]
        written(store)
        del tickets
    assert store._engine._extents.end <= 2 * 10 * 53_248


def test_what_is_read_back_is_bounded(store):
    tickets = [store.put(make(100_000, seed=at)) for at in range(20)]
    written(store)
    for ticket in tickets:
        ticket.load()
    engine = store._engine
    with engine.changed:
        in_memory = sum(ticket._entry.blob.nbytes for ticket in tickets if ticket._entry.parts is not None)
        assert in_memory == engine._window.nbytes <= 2**18


class Gate:
    """Has the writer wait, and shows how much waits with it."""

    def __init__(self, monkeypatch):
        self.open = threading.Event()
        real = spill._write_at

        def write(*arguments):
            self.open.wait()
            return real(*arguments)

        monkeypatch.setattr(spill, "_write_at", write)


def test_put_waits_while_too_much_is_unwritten(store, monkeypatch):
    gate, tickets, parts = Gate(monkeypatch), [], make(2**19)

    def work():
        tickets.extend(store.put(parts) for _ in range(8))

    thread = threading.Thread(target=work)
    thread.start()
    engine = store._engine
    while engine.waiting < 2**20:
        os.sched_yield()
    assert engine.waiting < 2**20 + 2**19 + 4096
    assert len(tickets) < 8
    gate.open.set()
    thread.join()
    assert all(same(ticket.load(), parts) for ticket in tickets)


def test_what_is_not_written_yet_is_given_back_from_memory(store, monkeypatch):
    gate, parts = Gate(monkeypatch), make(1000)
    ticket = store.put(parts)
    assert ticket.load()[0] is not None
    assert same(ticket.load(), parts)
    gate.open.set()


def test_a_ticket_that_dies_unwritten_frees_its_room(store, monkeypatch):
    gate = Gate(monkeypatch)
    for at in range(3):
        store.put(make(2**17, seed=at))
    gate.open.set()
    kept = store.put(make(2**17, seed=9))
    written(store)
    assert same(kept.load(), make(2**17, seed=9))
    assert store._engine.waiting == 0


ERRORS = {
    errno.ENOSPC: (DiskFullError, "is full"),
    errno.EDQUOT: (DiskFullError, "is full"),
    errno.EROFS: (ReadOnlyError, "cannot be written to"),
    errno.ESTALE: (DirectoryGoneError, "is not a directory"),
    errno.EIO: (StoreError, "reading or writing a file in .* failed"),
}


@pytest.mark.parametrize(("number", "kind", "words"), [(n, *rest) for n, rest in ERRORS.items()], ids=str)
def test_a_write_that_fails_loses_nothing_and_is_named(store, monkeypatch, number, kind, words):
    parts = make(5000)

    def fail(*_):
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(spill, "_write_at", fail)
        ticket = store.put(parts)
        written(store)
    with pytest.raises(kind, match=words) as caught:
        store.put(parts)
    assert type(caught.value) is kind
    assert "offload='cpu'" in str(caught.value)
    assert same(ticket.load(), parts)
    again = store.put(parts)
    written(store)
    assert same(again.load(), parts)
    assert again._entry.parts is not None or again._entry.offset is not None


def test_the_writer_survives_any_error(store, monkeypatch):
    def fail(*_):
        raise ArithmeticError("on purpose")

    with monkeypatch.context() as patch:
        patch.setattr(spill, "_write_at", fail)
        ticket = store.put(make(5000))
        written(store)
    with pytest.raises(StoreError, match="on purpose"):
        store.put(make(5000))
    assert same(ticket.load(), make(5000))
    again = store.put(make(5000))
    written(store)
    assert again._entry.parts is None


def test_a_read_that_fails_is_named_and_can_be_tried_again(store, monkeypatch):
    parts = make(5000)
    ticket = store.put(parts)
    written(store)

    def fail(*_):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(spill, "_read_at", fail)
        with pytest.raises(StoreError, match="reading or writing a file"):
            ticket.load()
    assert same(ticket.load(), parts)


def test_a_file_that_was_cut_short_is_noticed(store):
    ticket = store.put(make(50_000))
    written(store)
    os.ftruncate(store._engine.file._number, 4096)
    with pytest.raises(StoreError, match="the file is shorter than it was"):
        ticket.load()


@pytest.mark.parametrize("byte", [0, 4999, 5003], ids=["first part", "its end", "second part"])
def test_a_file_that_was_damaged_is_noticed(store, byte):
    parts = make(5000, 17)
    ticket, other = store.put(parts), store.put(make(100, seed=1))
    written(store)
    place = ticket._entry.offset + (byte if byte < 5000 else ticket._entry.blob.pieces[1].start + byte - 5000)
    page = place // spill.PAGE * spill.PAGE
    memory = bytearray(os.pread(os.open(f"/proc/self/fd/{store._engine.file._number}", os.O_RDONLY), spill.PAGE, page))
    memory[place - page] ^= 1  # one bit
    with open(f"/proc/self/fd/{store._engine.file._number}", "r+b") as file:
        file.seek(page)
        file.write(memory)
    for _ in range(2):
        with pytest.raises(DamagedError, match=r"is not what was written to it: its checksum differs"):
            ticket.load()
    assert same(other.load(), make(100, seed=1))
    memory[place - page] ^= 1
    with open(f"/proc/self/fd/{store._engine.file._number}", "r+b") as file:
        file.seek(page)
        file.write(memory)
    assert same(ticket.load(), parts)


def test_two_stores_in_one_directory_have_files_of_their_own(tmp_path):
    script = (
        "import sys, torch; from gact.store import DiskStore; s = DiskStore(sys.argv[1])\n"
        "ts = [s.put((torch.full((9000,), int(sys.argv[2]) + i),)) for i in range(20)]\n"
        "sys.stdin.readline()\n"
        "assert all(bool((t.load()[0] == int(sys.argv[2]) + i).all()) for i, t in enumerate(ts)); print('same')\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path)]
    others = [
        subprocess.Popen([*command, str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for n in (0, 100)
    ]
    for each in others:
        assert each.communicate("\n", timeout=120)[0] == "same\n"


def test_a_directory_that_does_not_exist(tmp_path):
    with pytest.raises(DirectoryGoneError, match=r"is not a directory.*Make it"):
        DiskStore(tmp_path / "none")


def test_a_path_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryGoneError, match="is not a directory"):
        DiskStore(tmp_path / "file")


def test_a_directory_without_permission(tmp_path, monkeypatch):
    def forbid(**_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(spill.tempfile, "TemporaryFile", forbid)
    with pytest.raises(ReadOnlyError, match=r"cannot be written to.*Choose a directory"):
        DiskStore(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_disk_that_is_really_full(store):
    parts = make(5000)
    ticket = store.put(make(1))
    written(store)
    full = os.open("/dev/full", os.O_RDWR)
    engine = store._engine
    real, engine.file._number = engine.file._number, full
    held = store.put(parts)
    written(store)
    engine.file._number = real
    os.close(full)
    with pytest.raises(DiskFullError, match="No space left"):
        store.put(parts)
    assert same(held.load(), parts)
    assert same(ticket.load(), make(1))


def test_the_directory_may_be_removed_while_the_file_is_open(tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    store = DiskStore(place)
    parts = make(100_000)
    ticket = store.put(parts)
    written(store)
    place.rmdir()
    assert same(ticket.load(), parts)
    other = store.put(parts)
    written(store)
    assert same(other.load(), parts)
    del ticket, other
    ended(store)


def test_tickets_outlive_the_store(tmp_path):
    store, parts = DiskStore(tmp_path), make(10_000)
    ticket = store.put(parts)
    written(store)
    threads = store._engine._threads
    del store
    gc.collect()
    assert same(ticket.load(), parts)
    file = ticket._engine.file._file
    del ticket
    for thread in threads:
        thread.join()
    assert file.closed


def test_a_store_that_was_never_used_starts_no_thread(tmp_path):
    before = threading.active_count()
    store = DiskStore(tmp_path)
    assert threading.active_count() == before
    store.close()


def test_a_forked_process_is_refused(store, monkeypatch):
    monkeypatch.setattr(disk_module.os, "getpid", lambda: -1)
    with pytest.raises(StoreError, match="forked after it was made"):
        store.put(make(10))


def test_many_threads_load_at_once(store):
    entries = [make(20_000, seed=at) for at in range(30)]
    tickets = [store.put(parts) for parts in entries]
    written(store)
    right = []

    def work(seed):
        order = torch.randperm(30, generator=torch.Generator().manual_seed(seed)).tolist()
        right.append(all(same(tickets[at].load(), entries[at]) for at in order))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 4


KILLED = """
import os, signal, sys, torch
from gact.store import DiskStore
store = DiskStore(sys.argv[1])
tickets = [store.put((torch.ones(100_000),)) for _ in range(20)]
tickets[0].load()
print(len(os.listdir(sys.argv[1])), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing(tmp_path):
    run = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert run.returncode < 0, run.stderr
    assert run.stdout.split() == ["0"]
    assert os.listdir(tmp_path) == []


def test_threads_that_work_when_the_process_ends_do_not_abort_it(tmp_path):
    script = (
        "import sys, torch; from gact.store import DiskStore; s = DiskStore(sys.argv[1], queue_bytes=2**30)\n"
        "ts = [s.put(tuple(torch.full((5000,), i) for i in range(20))) for _ in range(60)]\n"
        "[t.load() for t in ts[:30]]\n"
        "import atexit, gact.store.engine as e; atexit.unregister(e._halt_all)\n"
        "@atexit.register\n"
        "def last():\n"  # what runs after the threads were halted still has all its data
        "    e._halt_all()\n"
        "    ts.append(s.put((torch.full((5000,), 7),)))\n"
        "    assert all(bool((p == i).all()) for t in ts[:-1] for i, p in enumerate(t.load()))\n"
        "    assert bool((ts[-1].load()[0] == 7).all()); print('all there')\n"
    )
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (0, "all there\n"), done.stderr
