"""Activation-compressed training for any PyTorch network.

Autograd's saved tensors are held in a few bits each; see ``Compressor``.
"""

from importlib.metadata import version as _version

from .compressor import Compressor
from .planning import Plan, plan
from .quantized import QuantizedTensor, quantize
from .report import Report, Row
from .rules import Rule

__version__ = _version("gact")

__all__ = ["Compressor", "Plan", "QuantizedTensor", "Report", "Row", "Rule", "__version__", "plan", "quantize"]
