"""The operators of the group code: one contract, kernels for every device.

Importing this package defines ``torch.ops.gact.*`` and loads the fastest kernels there are: C++ on the CPU if the
extension was built, plain torch everywhere else.

``schema`` has the signatures and ``checks`` what is accepted. ``reference`` defines every result bit for bit. ``cpu``
loads the extension of ``csrc/``, ``triton`` has the kernels of GPUs. ``looks``: looks at values that choose a form.
``columns``: looks at channels. ``boxes``: boxes of rows, and places in them. ``boxcodes``: bounds of boxes, and codes
of places in one pass. ``boxsamples``: looks at some of them. ``sparse``: gathers what is not zero.

To add a backend, register kernels of the same names for its device as ``triton`` does, and run ``tests/ops`` on it:
they compare with the reference.
"""

from . import schema
from .cpu import load, status
from .reference import bends as reference_bends
from .reference import exact as reference_exact
from .reference import groups as reference
from .reference import rebuild as reference_rebuild
from .reference import squares as reference_squares
from .triton import register as register_device_kernels

schema.define()
_ROOMS = (reference, reference_bends, reference_exact, reference_rebuild, reference_squares)
schema.register(kernel for room in _ROOMS for kernel in room.KERNELS)
register_device_kernels()
load()

__all__ = ["reference", "schema", "status"]
