"""The picture that a command draws beside its answer: the option, and the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

Picture = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Also write a picture (.png, .svg, .pdf).")]


def check_picture(out: Path | None, option: str = "--out") -> None:
    """Raise InputError if ``out``, the value of ``option``, has an extension that is not in `FORMATS`."""
    from sweeplaw.trials.errors import InputError, unsupported_extension

    if out is not None and (fault := unsupported_extension(str(out), FORMATS)):
        raise InputError(f"{option} {fault}")


def write_picture(out: Path, figure: Figure) -> None:
    """Write the figure whole or not at all. Raise OSError."""
    from sweeplaw.analysis.tables.files.output_file import write_file

    write_file(out, partial(figure.savefig, format=out.suffix[1:].lower(), dpi=150))
