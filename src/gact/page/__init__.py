"""The one page of a report or a profile: a file that needs no network. It knows figures and strings.

* ``document``: the page around its sections: style, script, what it may load (nothing), model, versions and date.
* ``chart``: memory over a step as SVG, all ways in one picture. ``scales``: where its points and ticks lie.
* ``tree``: modules with their plain and kept bytes as bars. ``grid``: a table that is sorted and filtered.
* ``markup``: elements of HTML, whose text is escaped.

``page.css`` and ``page.js`` are copied into each page.
"""

from .chart import KINDS, chart
from .document import document, section
from .grid import Cell, cards, grid, table
from .markup import element, text
from .scales import Curve, Moment, spread
from .tree import Part, legend, tree

__all__ = [
    "KINDS",
    "Cell",
    "Curve",
    "Moment",
    "Part",
    "cards",
    "chart",
    "document",
    "element",
    "grid",
    "legend",
    "section",
    "spread",
    "table",
    "text",
    "tree",
]
