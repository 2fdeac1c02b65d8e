"""Processes that are forked beside threads which use a compressor: none waits for a lock of a thread that is gone."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, signal, threading, torch, warnings
from torch import nn
import gact
from gact import forks
warnings.simplefilter("ignore")
torch.set_num_threads(1)

def made():
    model = nn.Sequential(*(nn.Sequential(nn.Linear(16, 16), nn.Tanh()) for _ in range(2)))
    return model, gact.Compressor(model, bits=8, min_bytes=0, checkpoint=["*"])

def train(model, c):
    for _ in range(3):
        with c:
            loss = model(torch.ones(8, 16)).square().mean()
        c.backward(loss)
    return model[0][0].weight.grad is not None

def child():
    signal.alarm(60)  # ends a child that waits for ever
    os._exit(0 if train(*shared) and train(*made()) else 1)

shared = made()
train(*shared)
entered, over = threading.Event(), threading.Event()

def be_in_the_middle_of_everything():
    locks = [lock for lock in (each() for each in forks._locks) if lock is not None]
    for lock in locks:
        lock.acquire()
    entered.set()
    over.wait()
    for lock in locks:
        lock.release()

thread = threading.Thread(target=be_in_the_middle_of_everything)
thread.start()
entered.wait()
process = os.fork()
if not process:
    try:
        child()
    finally:
        os._exit(2)
end = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
over.set()
thread.join()
print(end, len(forks._locks) > 5, train(*shared))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_no_child_waits_for_a_lock_that_a_thread_held():
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["0", "True", "True"], done.stderr[-2000:]


def test_every_lock_of_the_package_is_one_that_forks_find_free():
    import gact

    folder = os.path.dirname(gact.__file__)
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py") and name != "forks.py":
                with open(os.path.join(place, name)) as file:
                    text = file.read()
                assert "threading.Lock(" not in text, name
                assert "threading.RLock(" not in text, name
