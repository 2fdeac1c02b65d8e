"""How much memory a step really takes, and what takes it at the peak."""

from .profile import profile_step
from .report import Holder, MemoryProfile, Sample

__all__ = ["Holder", "MemoryProfile", "Sample", "profile_step"]
