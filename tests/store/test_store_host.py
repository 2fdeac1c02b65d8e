"""The store in host memory, with a transfer that only notes what it is asked for."""

import gc

import pytest
import torch

from gact.store import DeviceStore, HostStore


class Noted:
    """Copies at once and notes the order of everything."""

    def __init__(self):
        self.log = []

    def out(self, tensor):
        self.log.append("out")
        return tensor.clone()

    def back(self, copy, device):
        self.log.append(f"back {int(copy[0])}")
        return copy.clone(), int(copy[0])

    def wait(self, tensor, arrival):
        self.log.append(f"wait {arrival}")


@pytest.fixture
def transfer():
    return Noted()


def filled(store, count, size=4):
    store.begin_step()
    return [store.put((torch.full((size,), float(number)),)) for number in range(count)]


def test_parts_come_back_and_as_often_as_asked(transfer):
    store = HostStore(transfer)
    parts = (torch.randn(5), torch.randint(0, 9, (3,)))
    ticket = store.put(parts)
    assert ticket.nbytes == 5 * 4 + 3 * 8
    for _ in range(3):
        assert all(torch.equal(a, b) for a, b in zip(ticket.load(), parts, strict=True))


def test_what_is_expected_next_is_under_way_before_it_is_asked_for(transfer):
    store = HostStore(transfer)
    tickets = filled(store, 8)
    transfer.log.clear()
    tickets[7].load()
    assert transfer.log == ["back 7", "back 6", "back 5", "back 4", "back 3", "wait 7"]
    transfer.log.clear()
    tickets[6].load()
    assert transfer.log == ["back 2", "wait 6"]


def test_the_order_of_the_last_backward_is_followed(transfer):
    store = HostStore(transfer)
    tickets = filled(store, 4)
    for number in (3, 0, 2, 1):
        tickets[number].load()
    tickets = filled(store, 4)
    transfer.log.clear()
    tickets[3].load()
    assert transfer.log == ["back 3", "back 0", "back 2", "back 1", "wait 3"]


def test_no_more_is_brought_ahead_than_allowed(transfer):
    store = HostStore(transfer, prefetch_bytes=40)
    tickets = filled(store, 8)
    transfer.log.clear()
    tickets[7].load()
    tickets[0].load()
    assert transfer.log == ["back 7", "back 6", "back 5", "wait 7", "back 0", "wait 0"]


def test_tickets_die_with_their_last_reference(transfer):
    store = HostStore(transfer)
    tickets = filled(store, 4)
    tickets[3].load()
    gc.disable()
    try:
        del tickets
        assert not store._coming
    finally:
        gc.enable()


@pytest.mark.parametrize("store", [DeviceStore(), HostStore()], ids=["device", "host"])
def test_what_is_in_host_memory_stays(store):
    part = torch.randn(3)
    store.begin_step()
    ticket = store.put((part,))
    assert ticket.load()[0] is part
    assert ticket.nbytes == 0
    store.close()
