"""When large CPU tensors come from the allocator without being asked for: in training steps that are compressed."""

import sys
import textwrap

import pytest

from apart import run
from gact.ops import cpu

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or cpu.library() is None, reason="needs Linux and the C++ kernels"
)

TRAINING = """
def on():
    return int(gact.allocator_status().enabled)
def training(device="cpu", **options):
    model = torch.nn.Sequential(torch.nn.Linear(256, 256), torch.nn.GELU(), torch.nn.Linear(256, 256)).to(device)
    compressor = gact.Compressor(model, min_bytes=0, **options)
    return model, compressor, torch.optim.SGD(model.parameters(), lr=0.1)
def loss_of(model):
    return model(torch.ones(64, 256, device=next(model.parameters()).device)).square().mean()
"""


def run_training(code, **environment):
    """Runs code that trains in a process of its own; what it prints, in words."""
    return run(TRAINING + textwrap.dedent(code), **environment)


STEP = """
model, compressor, optimizer = training(DEVICE)
print(on())
for _ in range(2):
    with compressor:
        loss = loss_of(model)
        print(on())
    compressor.backward(loss)
    print(on())
    optimizer.step()
    print(on())
"""


def test_it_serves_from_the_context_to_the_end_of_the_optimizers_step():
    assert run_training(STEP.replace("DEVICE", "'cpu'")) == ["0", *"1101" + "10"]


@pytest.mark.parametrize(("value", "device", "seen"), [("0", "cpu", "0"), ("", "meta", "0"), ("1", "meta", "1")])
def test_the_environment_and_the_device_decide(value, device, seen):
    code = STEP.replace("DEVICE", f"'{device}'")
    assert set(run_training(code, GACT_ALLOCATOR=value)) == {seen}


@pytest.mark.parametrize("choice", [True, False])
def test_what_the_user_has_decided_stays(choice):
    words = run_training(f"gact.use_allocator({choice})\n" + STEP.replace("DEVICE", "'cpu'"))
    assert set(words) == {str(int(choice))}


def test_a_context_around_a_whole_training_is_one_step():
    assert run_training("""
        model, compressor, optimizer = training()
        with compressor:
            for _ in range(2):
                compressor.backward(loss_of(model))
                optimizer.step()
                print(on())
        print(on())
        optimizer.step()
        print(on())
    """) == ["1", "1", "1", "0"]


def test_the_open_context_of_another_thread_keeps_it_on():
    assert run_training("""
        model, compressor, optimizer = training()
        entered, leave = threading.Event(), threading.Event()
        def work():
            with training()[1]:
                entered.set()
                leave.wait()
        thread = threading.Thread(target=work)
        thread.start()
        entered.wait()
        with compressor:
            pass
        optimizer.step()
        print(on())
        leave.set()
        thread.join()
        optimizer.step()
        print(on())
    """) == ["1", "0"]


def test_several_contexts_before_one_step_of_the_optimizer():
    assert run_training("""
        model, compressor, optimizer = training()
        for _ in range(2):
            with compressor:
                loss = loss_of(model)
            compressor.backward(loss)
            print(on())
        optimizer.step()
        print(on())
    """) == ["1", "1", "0"]


def test_an_error_in_forward_ends_with_the_next_step_of_the_optimizer():
    assert run_training("""
        model, compressor, optimizer = training()
        try:
            with compressor:
                raise ValueError
        except ValueError:
            print(on())
        with torch.autograd.graph.save_on_cpu():
            try:
                compressor.__enter__()
            except RuntimeError:
                print(on())
        optimizer.step()
        print(on())
    """) == ["1", "1", "0"]


def test_optimizer_hooks_of_others_are_called_beside_ours():
    assert run_training("""
        from torch.optim.optimizer import register_optimizer_step_post_hook
        model, compressor, optimizer = training()
        register_optimizer_step_post_hook(lambda *_: print("before"))
        for _ in range(2):
            with compressor:
                loss = loss_of(model)
            compressor.backward(loss)
            register_optimizer_step_post_hook(lambda *_: print("after"))
            optimizer.step()
            print(on())
    """) == ["before", "after", "0", "before", "after", "after", "0"]


def test_a_compressor_that_is_not_enabled_serves_nothing():
    assert run_training("""
        model, compressor, optimizer = training(enabled=False)
        with compressor:
            print(on())
    """) == ["0"]


def test_a_step_finds_the_memory_of_the_last_one():
    _, before, after = map(
        float,
        run_training("""
        model, compressor, optimizer = training(adaptive=False)
        for _ in range(3):
            with compressor:
                loss = model(torch.ones(8192, 256)).square().mean()
            compressor.backward(loss)
            del loss
            optimizer.step()
            optimizer.zero_grad()
            print(gact.allocator_status().free_bytes / MIB)
    """),
    )
    assert after == before >= 8
