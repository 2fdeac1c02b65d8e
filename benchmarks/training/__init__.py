"""Small trainings on real data, to compare what they come to plainly and compressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from .graph import pubmed
from .images import fashion
from .language_model import smollm2, smollm2_lora
from .reviews import reviews, reviews_long
from .task import Task
from .text import speeches

TASKS: Mapping[str, Callable[[bool], Task]] = {
    "fashion": fashion,
    "reviews": reviews,
    "reviews_long": reviews_long,
    "pubmed": pubmed,
    "speeches": speeches,
    "smollm2": smollm2,
    "smollm2_lora": smollm2_lora,
}
SEEDS: Mapping[str, int] = {
    "fashion": 5,
    "reviews": 5,
    "reviews_long": 5,
    "pubmed": 10,
    "speeches": 5,
    "smollm2": 3,
    "smollm2_lora": 3,
}
