"""The optional packages behind each extra, and what to say where they are missing."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from ..errors import MissingExtraError

EXTRAS: dict[str, dict[str, str]] = {
    "cli": {"typer": "typer", "rich": "rich"},
    "plan": {"scipy": "scipy"},
    "plot": {"matplotlib": "matplotlib"},
    "demo": {"sklearn": "scikit-learn", "matplotlib": "matplotlib"},
}
"""Per extra, the modules it brings and the names of their distributions."""


def missing(extra: str) -> list[str]:
    """Distributions of an extra that cannot be imported."""
    return [distribution for module, distribution in EXTRAS[extra].items() if find_spec(module) is None]


def require(extra: str) -> None:
    """Check that an extra is there, without importing it.

    Args:
        extra: A key of ``EXTRAS``.

    Raises:
        MissingExtraError: If something is missing, with the command that installs it.
    """
    if absent := missing(extra):
        raise MissingExtraError(
            f"gact: this needs {' and '.join(absent)}: run `pip install {' '.join(absent)}` (gact's extra '{extra}')."
        )


def versions(extra: str) -> str:
    """The installed versions of an extra's packages in one line."""
    return ", ".join(f"{name} {_version(name)}" for name in EXTRAS[extra].values())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"
