"""Copies of objects that belong to a model, made when they are first used.

NOTE: A cycle
A compressor that is an attribute of its own model is copied (``deepcopy``, ``pickle``, ``AveragedModel``, processes
that are spawned) while the copy of the model is still empty. So a copy first holds what it is to be made of, and is
made when something of it is asked for: the model is there by then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..forks import new_reentrant_lock

_STATE = "_made_of"
_making = new_reentrant_lock()


class MadeLate:
    """An object whose copies are made when they are first used.

    Subclasses have ``__getstate__``, and ``_make``, which takes what that returned.
    """

    def _make(self, state: dict[str, Any]) -> None:
        raise NotImplementedError

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Notes what this copy is to be made of."""
        self.__dict__[_STATE] = state

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Makes the object if it is a copy that is not made yet: only then are attributes missing."""
            with _making:
                state = self.__dict__.pop(_STATE, None)
                if state is not None:
                    try:
                        self._make(state)
                    except BaseException:
                        self.__dict__.clear()
                        self.__dict__[_STATE] = state
                        raise
                    return getattr(self, name)
                if name in self.__dict__:  # made by another thread meanwhile
                    return self.__dict__[name]
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
