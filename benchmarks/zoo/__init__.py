"""Tiny models of the architectures that transformers has, and the noise of their gradients."""
