"""Writes the table of ``docs/consumers.md``, from the table of needs: ``python benchmarks/needs_table.py``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / "src"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from gact.operators import attention, double, linear, losses, norms, places, pointwise, reductions  # noqa: E402
from gact.operators.need import Chooser, Need, Slots  # noqa: E402 - found by the lines above

DOCS = ROOT / "docs" / "consumers.md"
BEGIN, END = "<!-- needs: begin -->", "<!-- needs: end -->"
COLUMNS = ("node and slots", "backward reads", "held as", "since torch")
LEAST_TORCH = "2.10"
# Nodes that a later release brought.
SINCE = {
    "CdistBackwardBackward0": "2.14",
    "LinalgMatrixSqrthBackward0": "2.14",
    "LinalgPolarBackward0": "2.14",
    "PdistBackwardBackward0": "2.14",
}

SUBJECTS = {
    "Products": linear.LINEAR,
    "Functions of each element": pointwise.POINTWISE,
    "Normalisations": norms.NORMS,
    "Softmax and losses": losses.LOSSES,
    "Fused attention and recurrent kernels": attention.FUSED,
    "Reductions, distances and decompositions": reductions.REDUCTIONS,
    "Ops that move elements": places.PLACES,
    "Double backward": double.DOUBLE,
}

_SLOPE = "groups of the value, its square corrected; where saturated groups of the slope and 1 bit for the side (CPU)"
_BENT = ("the function and its slope", "groups of a hyperbola of it; plain ones if others read it too")
FORMS = {
    "": ("the value, linearly or nearly", "groups"),
    "normalised": ("the normalised value", "groups of it; mean and deviation exact"),
    "log_probabilities": ("the probability, linearly", "groups of it, peaks exact; 8 bits until the noise is known"),
    "cosine": ("its cosine, linearly", "groups of it; 1 bit for the side"),
    "sine": ("its sine, linearly", "groups of it; 1 bit for the side"),
    "gelu": _BENT,
    "silu": _BENT,
    "mish": _BENT,
    "tanh": ("1 - t^2", _SLOPE),
    "sigmoid": ("s (1 - s)", _SLOPE),
}
BY_DTYPE = {
    "index": "integers",
    "bool mask": "1 bit",
    "compared with the winner": "1 bit: who won; kept where indices of the winner are large and it is small",
    "compared with each other": "1 bit each; kept if they differ in size or dtype, or hold a NaN (CPU)",
}
_TURNS = ", more bits where values lie far apart, kept where 8 are too few (CPU)"
_FAR = "; kept where values lie far apart (CPU)"
_NORMALISED = "groups of it; mean and deviation exact; 8 bits until the noise is known if they are of few elements"
CHOICES = {
    "constant": ("on which side of a bound it lies", "1 bit"),
    "choose": ("on which side of the node's bounds it lies", "1 bit; kept if the bounds are no numbers in order"),
    "clamped": ("on which side of the node's bounds it lies", "1 bit; kept if the bounds are no numbers in order"),
    "_power": (
        "its power n - 1",
        "n = 0, 1: nothing; 2: groups; whole n to 8: groups of 8 bits at least; others: kept",
    ),
    "_exponential": ("the value, linearly", "groups if the base is above 0; else kept"),
    "_exponent": ("whether it is 0, if the base is 0", "nothing if the base is above 0; else kept"),
    "_rounded_quotient": ("nothing, with a rounding mode", "nothing; kept without a rounding mode"),
    "_elu": ("its exponential, below 0", "groups of 8 bits at least if the slope is continuous at 0, else kept" + _FAR),
    "_celu": ("its exponential, below 0", "groups of 8 bits at least if alpha is 1 or more, else kept" + _FAR),
    "score_need": ("its exponential, in scores", "groups of 8 bits at least; kept where scores are large (CPU)"),
    "value_need": ("the value, linearly", "groups; kept where scores are large (CPU)"),
    "_keys": (
        "its exponential, in scores",
        "groups of 8 bits until the noise is known, of 6 to 8 at least by the scores; kept where those are large (CPU)",
    ),
    "_values": ("the value, linearly", "groups; kept where scores are large (CPU)"),
    "_output": ("its product with the gradient", "made again of what is held; kept where scores are large (CPU)"),
    "exponential": (
        "the value, linearly",
        "groups; kept where a sum of exponentials is part of its argument, or it spans many orders of magnitude (CPU)",
    ),
    "of_one_magnitude": ("the value, linearly", "groups; kept where it spans many orders of magnitude (CPU)"),
    "factor": (
        "the value, linearly",
        "groups; kept where the other factor comes from log-softmax, or few columns have rows of many magnitudes, or a "
        "quotient has (CPU)",
    ),
    "softplus": (
        "its sigmoid, below the threshold",
        "groups if beta is at most 1 and the threshold at least 10" + _TURNS,
    ),
    "_hardswish": ("the value between -3 and 3, the side beyond", "groups of it, 6 bits at first; 1 bit for the side"),
    "_prelu": ("its sign; the value too if the slopes learn", "1 bit; groups of it below 0 too if the slopes learn"),
    "_rrelu": ("its sign; nothing if slopes were drawn", "1 bit; nothing if slopes were drawn"),
    "_rrelu_noise": ("the slopes that were drawn, linearly", "groups"),
    "softmax": (
        "the value, nearly linearly",
        "groups; rows add to one, peaks exact where they are sharp (CPU); 8 bits until the noise is known if short",
    ),
    "_batch_norm": ("the normalised value; in evaluation the value, linearly", _NORMALISED),
    "_group_norm": ("the normalised value", _NORMALISED),
    "_layer_norm": ("the normalised value", _NORMALISED),
}


def cells(need: Need | Chooser) -> tuple[str, str]:
    """What backward reads of a slot, and how it is held."""
    if not isinstance(need, Need):
        return CHOICES[need.__name__]
    if need.kind == "shape":
        return "size and dtype", "nothing"
    if need.kind == "value":
        reads, held = FORMS[need.form]
        if need.min_bits == 8:
            return "a smooth function of it", "groups of 8 bits at least" + (_FAR if need.turn else "")
        if need.turn:
            reads, held = reads if need.form else "a smooth function of it", held + _TURNS
        return reads, held
    return need.why, BY_DTYPE.get(need.why, "kept")


def short(name: str) -> str:
    """A node's name without "Backward0"; other numbers stay."""
    return re.sub(r"Backward0$", "", re.sub(r"Backward([1-9]\d*)$", r"\1", name))


def rows(table: dict[str, Slots]) -> dict[tuple[str, str, str], list[str]]:
    """The nodes and slots that share what is read, how it is held and since when."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for name in sorted(table):
        shared: dict[tuple[str, str, str], list[str]] = {}
        for slot, need in table[name].items():
            shared.setdefault((*cells(need), SINCE.get(name, LEAST_TORCH)), []).append(slot)
        for key, slots in shared.items():
            found.setdefault(key, []).append(f"`{short(name)}` {', '.join(slots)}")
    return found


def table() -> str:
    """One table per subject, rows of nodes and slots with the same need."""
    parts = []
    for subject, needs in SUBJECTS.items():
        lines = [
            f"### {subject}",
            "",
            "| node and slots | backward reads | held as | since torch |",
            "|---|---|---|---|",
        ]
        lines += [f"| {'; '.join(nodes)} | {' | '.join(key)} |" for key, nodes in rows(needs).items()]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def rendered(text: str) -> str:
    """A page with its table made afresh."""
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    DOCS.write_text(rendered(DOCS.read_text()))
