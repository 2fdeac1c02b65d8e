"""What a step saved, as data, as a table and as a page.

* ``rows``: the figures of each site. ``report``: those of the step, and how they are shown.
* ``metrics``: numbers for a logger, and one line for a progress bar.
* ``table``, ``html``: the same for people. A new way to show a report reads ``rows`` and stands beside these two.
* ``advice``: what is not as a user would want it, and what to do about it.
"""

from .advice import Advice
from .metrics import metrics, status
from .report import Report, build_report
from .rows import Row

__all__ = ["Advice", "Report", "Row", "build_report", "metrics", "status"]
