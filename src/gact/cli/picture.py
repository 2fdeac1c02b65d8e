"""What must be there before a picture is drawn."""

from __future__ import annotations

from pathlib import Path

import typer

from ..errors import MissingExtraError
from .extras import require


def check_picture(path: Path | None, option: str) -> None:
    """Checks that the demo's extra is there and that a picture can be written.

    Args:
        path: Picture to write, if any.
        option: The option that chose it.

    Raises:
        Exit: Of typer, with status 1, if an extra is missing, the format is unknown or the folder does not exist.
    """
    try:
        require("demo")
    except MissingExtraError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    if path is None:
        return
    from matplotlib.figure import Figure

    formats = Figure().canvas.get_supported_filetypes()
    if path.suffix.lstrip(".").lower() not in formats:
        known = ", ".join(sorted(formats))
        typer.echo(f"gact: the picture's name must end in one of {known}, got {path.name}.", err=True)
        raise typer.Exit(1)
    if not path.resolve().parent.is_dir():
        typer.echo(f"gact: there is no folder {path.parent}. Make it first, or choose another {option}.", err=True)
        raise typer.Exit(1)
