"""Where packed data lives between forward and backward: on the device, in host memory, in a file.

* ``base``: what a store is. ``device``, ``host``, ``disk``: the three there are. ``choose``: the word of ``offload=``.
* ``engine``, ``extents``, ``spill``: the file of ``disk``, its free ranges, and the thread that writes it.
* ``prefetch``: in which order backward asks for data, so that it is brought back ahead. ``errors``: what may go wrong.

To add a store, write a ``base.Store`` (``put`` gives a ``Ticket``, which gives the data back) and call
``gact.register_store`` with a word for ``offload=``.
"""

from .base import Store, Ticket
from .choose import open_store, register_store
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
    "register_store",
]
