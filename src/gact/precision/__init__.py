"""Widths that follow the gradient: sensitivities measured at run time, bits allocated under a budget."""
