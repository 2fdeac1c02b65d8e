"""What the backward of each operator reads of what it saved."""

from .bounds import prepare
from .need import SHAPE, VALUE, WIDE, Need, exact
from .registry import register_need
from .table import NEEDS, need_of

__all__ = ["NEEDS", "Need", "SHAPE", "VALUE", "WIDE", "exact", "need_of", "prepare", "register_need"]
