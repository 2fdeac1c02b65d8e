"""Activation-compressed training for any PyTorch network.

Autograd's saved tensors are held in a few bits each; see ``Compressor``.
"""

from .attention import attention
from .codecs import register_codec
from .compressor import Compressor
from .errors import GactError, GactWarning
from .memory import MemoryProfile, profile_step
from .memory.allocator import AllocatorStatus, allocator_status, use_allocator
from .operators import register_need
from .packing.rules import Rule
from .planning import Plan, plan
from .precision.probe import is_measuring
from .precision.repeatable import register_repeatable
from .quantized import QuantizedTensor, quantize
from .remat import register_rebuild
from .report import Advice, Report, Row
from .store import StoreError, register_store
from .text import version as _version

__version__ = _version()

__all__ = [
    "Advice",
    "AllocatorStatus",
    "Compressor",
    "GactError",
    "GactWarning",
    "MemoryProfile",
    "Plan",
    "QuantizedTensor",
    "Report",
    "Row",
    "Rule",
    "StoreError",
    "__version__",
    "allocator_status",
    "attention",
    "is_measuring",
    "plan",
    "profile_step",
    "quantize",
    "register_codec",
    "register_need",
    "register_rebuild",
    "register_repeatable",
    "register_store",
    "use_allocator",
]


def __dir__() -> list[str]:
    """The public names."""
    return __all__
