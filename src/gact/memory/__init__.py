"""How much memory a step really takes, and what takes it at the peak."""

from .profile import Holder, MemoryProfile, Sample, profile_step

__all__ = ["Holder", "MemoryProfile", "Sample", "profile_step"]
