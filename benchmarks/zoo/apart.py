"""Runs the measurement of one architecture in a process of its own, with bounds on time and memory."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
import warnings
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from .catalogue import Architecture
from .measuring import Found, measure

SECONDS = 20
PATIENCE = 6
MEMORY = 10 << 30
SLOW = "took more than {} seconds"
PRELOAD = ("torch", "numpy", "transformers", "transformers.modeling_utils", "transformers.models.auto.modeling_auto")


def measure_apart(
    architecture: Architecture, widths: Sequence[int], bits: Sequence[int], seconds: int = SECONDS
) -> Iterator[Found]:
    """As ``measure``, in other processes; what takes longer or dies ends with a reason, and no other width is tried.

    Args:
        architecture: Its entry of the catalogue.
        widths: Sizes of the hidden states.
        bits: Of the codes.
        seconds: Of processor time that a width may take; of time on the clock, ``PATIENCE`` times as many.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*PRELOAD, "gact", __name__])
    for width in widths:
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(architecture, width, tuple(bits), seconds, sender), daemon=True)
        process.start()
        sender.close()
        failed = False
        try:
            for found in _received(receiver, process, width, seconds):
                failed |= not found.bits
                yield found
        finally:
            process.kill()
            process.join()
            receiver.close()
        if failed:
            return


def _received(receiver: Connection, process: BaseProcess, width: int, seconds: int) -> Iterator[Found]:
    end = time.monotonic() + PATIENCE * seconds
    while receiver.poll(max(0.0, end - time.monotonic())):
        try:
            found = receiver.recv()
        except EOFError:
            process.join()
            slow = process.exitcode in (-signal.SIGXCPU, -signal.SIGKILL)
            yield Found(width, reason=SLOW.format(seconds) if slow else f"the process ended with {process.exitcode}")
            return
        if found is None:
            return
        yield found
    yield Found(width, reason=SLOW.format(PATIENCE * seconds))


def _work(architecture: Architecture, width: int, bits: tuple[int, ...], seconds: int, sender: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    # Models print and warn of fast kernels that are not installed, which says nothing about gradients.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    for found in measure(architecture, (width,), bits):
        sender.send(found)
    sender.send(None)
