"""Where packed data lives between forward and backward: on the device, in host memory, in a file.

To add a store, write a ``base.Store`` (``put`` gives a ``Ticket``, which gives the data back) and have ``choose``
open it for a value of ``offload=``.
"""

from .base import Store, Ticket
from .choose import open_store
from .device import DeviceStore
from .disk import DiskStore
from .errors import DamagedError, DirectoryGoneError, DiskFullError, ReadOnlyError, StoreError
from .host import HostStore

__all__ = [
    "DeviceStore",
    "DamagedError",
    "DirectoryGoneError",
    "DiskFullError",
    "DiskStore",
    "HostStore",
    "ReadOnlyError",
    "Store",
    "StoreError",
    "Ticket",
    "open_store",
]
