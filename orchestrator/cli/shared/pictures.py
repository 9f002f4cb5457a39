"""The picture that a command draws beside its answer: the option, and the file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = (".png", ".svg", ".pdf")

Picture = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Draw it (.png, .svg, .pdf).")]


def check_picture(out: Path | None) -> None:
    """Raise InputError for a name of no format."""
    from sweeplaw.trials.errors import InputError

    if out is not None and out.suffix.lower() not in FORMATS:
        raise InputError(f"--out {out}: the name ends in none of {', '.join(FORMATS)}")


def write_picture(out: Path, figure: Figure) -> None:
    """Write the figure whole or not at all. Raise OSError."""
    from sweeplaw.analysis.tables.files.output_file import write_file

    write_file(out, partial(figure.savefig, format=out.suffix[1:].lower(), dpi=150))
