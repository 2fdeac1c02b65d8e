"""What training would take, predicted without running it, and the fastest way that fits.

* ``planner``, ``plan``: ``gact.plan``, and what it gives. ``applied``: a plan at work, as one context.
* ``subject``, ``fakes``, ``factory``: the model, batch and loss that are planned for, as tensors without data.
* ``failures``: what to show of an error in the user's code.
* ``predict``, ``tracker``, ``recurrent``, ``census``: runs a step without data and counts its bytes.
* ``scaling``: the largest sizes. ``costs``, ``devices``: speed and memory of this machine.
* ``mix``, ``solve``: a technique for each block, chosen under a budget.
* ``trials``: the largest batch, found by really training.
"""

from .applied import AppliedPlan
from .costs import Costs, measure_costs
from .mix import Assignment, Mix
from .plan import LevelPlan, Plan
from .planner import plan
from .scaling import Largest

__all__ = ["AppliedPlan", "Assignment", "Costs", "Largest", "LevelPlan", "Mix", "Plan", "measure_costs", "plan"]
