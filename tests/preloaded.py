"""What the server imports that ``forked.py`` starts; what is not installed is passed over."""

import atexit
import contextlib
import gc
import importlib
import os

NAMES = (
    "torch",
    "gact",
    "torch._dynamo",
    "torch.distributed.fsdp",
    "torch.distributed.pipelining",
    "torch.distributed.tensor.parallel",
    "transformers.masking_utils",
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.processing_utils",
)

gc.disable()
for name in NAMES:
    with contextlib.suppress(ImportError):
        importlib.import_module(name)
gc.freeze()  # else each collection of each program goes through all of this
gc.enable()
atexit.register(os._exit, 0)  # libraries complain of what is still alive when a server ends
