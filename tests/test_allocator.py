"""Memory of large CPU tensors from the package's allocator: each test a process, to the whole of which it belongs."""

import sys

import pytest

import gact
from apart import run
from gact.memory import allocator
from gact.ops import cpu

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or cpu.library() is None, reason="needs Linux and the C++ kernels"
)


@pytest.fixture(autouse=True)
def _state(monkeypatch):
    """What a test of this process decides ends with it."""
    for name in ("enabled", "decided", "reason"):
        monkeypatch.setattr(allocator._State, name, getattr(allocator._State, name))


def test_it_is_off_until_it_is_switched_on():
    assert run("print(gact.allocator_status().enabled)") == ["False"]


def test_large_tensors_come_from_it_and_go_back():
    assert run("""
        before = torch.ones(MIB)
        assert gact.use_allocator(keep_bytes=0).enabled
        x = torch.arange(MIB, dtype=torch.float32)
        small = torch.ones(100)
        print(gact.allocator_status().used_bytes // MIB)
        y = x * 2 + before
        del x
        print(gact.allocator_status().used_bytes // MIB, bool((y == torch.arange(MIB) * 2 + 1).all()))
        del y, before
        status = gact.allocator_status()
        print(status.used_bytes, status.free_bytes)
    """) == ["4", "4", "True", "0", "0"]


def test_what_is_free_beyond_the_limit_leaves_the_process():
    start, full, kept, empty = map(
        int,
        run("""
        gact.use_allocator(keep_bytes=16 * MIB)
        torch.ones(64 * MIB)
        start = resident()
        tensors = [torch.ones(2 * MIB) for _ in range(20)]
        full = resident()
        del tensors
        kept = resident()
        gact.use_allocator(keep_bytes=0)
        print(start // MIB, full // MIB, kept // MIB, resident() // MIB)
    """),
    )
    assert full - start >= 140
    assert kept - start <= 24
    assert empty < kept


def test_without_a_limit_a_step_finds_the_memory_of_the_last_one():
    assert run("""
        gact.use_allocator()
        for _ in range(3):
            tensors = [torch.ones(MIB) for _ in range(10)]
            del tensors
        status = gact.allocator_status()
        print(status.used_bytes, status.free_bytes // MIB, status.peak_bytes // MIB)
    """) == ["0", "40", "40"]


def test_holes_cost_no_memory():
    assert run("""
        gact.use_allocator()
        tensors = [torch.ones(MIB) for _ in range(10)]
        del tensors[::2]
        torch.ones(3 * MIB)
        torch.ones(4 * MIB)
        del tensors
        large = [torch.ones(3 * MIB) for _ in range(3)]
        print(gact.allocator_status().peak_bytes // MIB)
    """) == ["40"]


def test_codes_come_from_it_as_well():
    assert run("""
        gact.use_allocator()
        quantized = gact.quantize(torch.ones(8 * MIB), 8)
        print(gact.allocator_status().used_bytes / MIB)
        del quantized
        print(gact.allocator_status().used_bytes)
    """) == ["8.125", "0"]


def test_a_peak_of_long_ago_is_forgotten():
    assert run("""
        gact.use_allocator()
        large = torch.empty(64 * MIB)
        del large
        for _ in range(2 * 16384):
            torch.empty(MIB)
        print(gact.allocator_status().free_bytes // MIB)
    """) == ["4"]


def test_a_limited_address_space_is_left_alone():
    assert run("""
        import resource
        resource.setrlimit(resource.RLIMIT_AS, (2**36, 2**36))
        status = gact.use_allocator()
        print(status.enabled, "ulimit" in status.reason)
    """) == ["False", "True"]


def test_memory_is_used_again_whatever_the_sizes():
    peak, used = map(
        int,
        run("""
        gact.use_allocator(keep_bytes=1024 * MIB)
        generator = torch.Generator().manual_seed(0)
        kept = {}
        for step in range(2000):
            at = int(torch.randint(40, (), generator=generator))
            size = int(torch.randint(40_000, 900_000, (), generator=generator))
            if at in kept:
                assert bool((kept[at] == at).all()), at
            kept[at] = torch.full((size,), float(at))
            small = [bytearray(100) for _ in range(20)]
        status = gact.allocator_status()
        print(status.peak_bytes // MIB, sum(t.nbytes for t in kept.values()) // MIB)
    """),
    )
    assert peak <= 2 * used


def test_off_again_and_tensors_live_on():
    assert run("""
        gact.use_allocator()
        x = torch.ones(MIB)
        print(gact.use_allocator(False).enabled, gact.allocator_status().reason.replace(" ", "-"))
        y = torch.ones(MIB)
        print(gact.allocator_status().used_bytes // MIB, float((x + y).sum()) / MIB)
        del x
        print(gact.allocator_status().used_bytes)
    """) == ["False", "switched-off", "4", "2.0", "0"]


def test_threads_and_a_fork():
    assert run("""
        gact.use_allocator(keep_bytes=4 * MIB)
        def work(number):
            for _ in range(50):
                x = torch.full((200_000,), float(number))
                assert bool((x * 2 == 2 * number).all())
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads: thread.start()
        x = torch.ones(MIB)
        child = os.fork()
        if not child:
            work(9)
            x.add_(1)
            os._exit(0)
        for thread in threads: thread.join()
        print(os.waitpid(child, 0)[1], float(x.sum()) / MIB)
    """) == ["0", "1.0"]


def test_training_gives_the_same_numbers():
    code = """
        if SWITCH: gact.use_allocator(keep_bytes=MIB)
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.GELU(), torch.nn.Linear(512, 256))
        x, c = torch.randn(1024, 256), gact.Compressor(model, bits=4)
        for _ in range(3):
            with c:
                loss = model(x).square().mean()
            loss.backward()
        print(float(loss), *(float(parameter.grad.double().sum()) for parameter in model.parameters()))
    """
    assert run(code.replace("SWITCH", "True")) == run(code.replace("SWITCH", "False"))


def test_a_request_gets_what_is_in_memory_before_what_was_given_back():
    assert run("""
        gact.use_allocator(keep_bytes=4 * MIB)
        first, between, second = torch.ones(2 * MIB), torch.ones(MIB), torch.ones(MIB)
        warm = second.data_ptr()
        del first
        del second
        again = torch.ones(MIB)
        print(again.data_ptr() == warm, between.sum().item() == MIB)
    """) == ["True", "True"]


def test_what_is_kept_waits_while_it_is_off_and_goes_when_much_else_was_asked_for():
    assert run("""
        gact.use_allocator()
        torch.ones(4 * MIB)
        gact.use_allocator(False)
        def elsewhere(times):
            for _ in range(times): torch.empty(4 * MIB)
            return gact.allocator_status().free_bytes // MIB
        print(elsewhere(20), elsewhere(20))
        gact.use_allocator()
        torch.ones(4 * MIB)
        gact.use_allocator(False)
        print(elsewhere(40), elsewhere(40))
    """) == ["16", "16", "16", "0"]


@pytest.mark.parametrize(
    ("failure", "words"), [(1, "not supported"), (2, "address space of this process is limited"), (3, "no libc10.so")]
)
def test_where_it_is_not_possible_the_reason_is_given(failure, words, monkeypatch):
    class Library:
        def gact_allocator_install(self, size):
            return failure

        def gact_allocator_set(self, *arguments):
            assert arguments[0] == 0

        def gact_allocator_figures(self, out):
            pass

    monkeypatch.setattr(cpu._Extension, "library", Library())
    status = gact.use_allocator()
    assert not status.enabled
    assert words in status.reason


def test_without_the_extension(monkeypatch):
    monkeypatch.setattr(cpu._Extension, "library", None)
    assert "C++ kernels are not built" in gact.use_allocator().reason
    assert gact.allocator_status().used_bytes == 0


@pytest.mark.parametrize(("option", "words"), [("keep_bytes", "at least 0, got -1"), ("min_bytes", "at least 1")])
def test_sizes_are_checked(option, words):
    with pytest.raises(ValueError, match=f"{option} must be a whole number of {words}"):
        gact.use_allocator(**{option: -1})
