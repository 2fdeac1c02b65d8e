"""Codes for saved tensors, one file per code."""
