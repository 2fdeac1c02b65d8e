"""Small trainings on real data, to compare what they come to plainly and compressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .graph import pubmed
from .images import fashion
from .reviews import reviews
from .task import Task
from .text import speeches

TASKS: Mapping[str, Callable[[bool], Task]] = {
    "fashion": fashion,
    "reviews": reviews,
    "pubmed": pubmed,
    "speeches": speeches,
}
SEEDS: Mapping[str, int] = {"fashion": 5, "reviews": 5, "pubmed": 10, "speeches": 5}
