"""What training would take, predicted without running it, and the fastest way that fits."""

from .applied import AppliedPlan
from .costs import Costs, measure_costs
from .mix import Assignment, Mix
from .plan import LevelPlan, Plan
from .planner import plan
from .scaling import Largest

__all__ = ["AppliedPlan", "Assignment", "Costs", "Largest", "LevelPlan", "Mix", "Plan", "measure_costs", "plan"]
