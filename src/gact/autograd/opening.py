"""Pieces that are opened one after another and closed again, whatever is raised meanwhile.

NOTE: Between any two instructions
Ctrl-C raises ``KeyboardInterrupt`` in the main thread wherever it is: before a piece is open, when it is open and
nobody has noted it, in the middle of closing it. So what closes a piece is noted before the piece is opened, it may be
run at any time and any number of times (each looks whether its piece is open), and one that is interrupted is run
again. What is left is one instruction that no Python code can guard: Python looks for signals when a function begins,
so that an interrupt may end ``__exit__`` before its first line. Nothing is half closed then: the context is open, as if
it had not been left.
"""

from __future__ import annotations

from collections.abc import Callable

from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack, _pop_mode, _push_mode


class Opened:
    """What is open, and how each piece is closed."""

    def __init__(self) -> None:
        self._closers: list[Callable[[], None]] = []

    def add(self, close: Callable[[], None]) -> None:
        """Notes how a piece is closed, before it is opened.

        Args:
            close: Closes the piece; does nothing where it is not open.
        """
        self._closers.append(close)

    def close(self) -> list[BaseException]:
        """Closes all pieces, the last first, and goes on after one that raises, which is tried twice.

        Returns:
            What the pieces raised.
        """
        errors: list[BaseException] = []
        while self._closers:
            for _ in range(2):  # an interrupt says nothing about the piece, which closes the second time
                try:
                    self._closers[-1]()
                    break
                except BaseException as error:
                    errors.append(error)
            self._closers.pop()
        return errors


def gravest(errors: list[BaseException]) -> BaseException:
    """The error to raise of several: an interrupt or exit before others, else the first. It shows the others, too.

    Args:
        errors: In the order in which they came.
    """
    chosen = next((error for error in errors if not isinstance(error, Exception)), errors[0])
    # What is raised gets the error that is being handled for its context, which is the first: it comes next here, too.
    last, shown = chosen, {id(chosen)}
    for error in (chosen, *errors):
        if id(error) not in shown:
            last.__context__ = error
        while last.__context__ is not None and id(last.__context__) not in shown:
            last = last.__context__
            shown.add(id(last))
        last.__context__ = None
    return chosen


def take_off(mode: TorchFunctionMode) -> None:
    """Leaves a function mode, if it is on this thread's stack; others above it stay."""
    above: list[TorchFunctionMode] = []
    try:
        while mode in _get_current_function_mode_stack():
            if _get_current_function_mode_stack()[-1] is mode:
                mode.__exit__(None, None, None)
            else:
                above.append(_pop_mode())
    finally:
        for other in reversed(above):
            _push_mode(other)
