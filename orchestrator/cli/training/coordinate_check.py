"""`sweeplaw coordinate-check`: whether activations move alike at every width."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.orchestrator.cli.shared.pictures import Picture, check_picture, write_picture
from sweeplaw.orchestrator.cli.shared.progress import progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sweeplaw.trials.workloads.language_model.coordinate_check import CoordinateChange

MOVES_WITH_WIDTH = 0.2  # a larger exponent is called so: a factor of 1.5 from the smallest to eight times its width


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("coordinate-check")(coordinate_check)


def coordinate_check(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file of a language model.")],
    widths: Annotated[str, typer.Option(metavar="W,…", help="Widths; the smallest divides the others.")] = "64,128,256",
    steps: Annotated[int, typer.Option(min=1, help="Updates at each width.")] = 8,
    out: Picture = None,
    json: Json = False,
) -> None:
    """Train the first trial of a sweep for a few steps at several widths, in the standard parametrization and in µP,
    and show how far each layer's activations move.

    In µP the change is alike at every width, so that one learning rate suits all; in the standard parametrization it
    grows. Shown is the exponent of the width by which it grows after the last step (Yang et al. 2022, appendix D.1).

    Example: sweeplaw coordinate-check orchestrator/sweeps/mup.toml --widths 32,64 --steps 3
    """
    from sweeplaw.orchestrator.cli.training.first_trial import first_trial

    check_picture(out)
    sizes = _widths(widths)
    workload, spec = first_trial(sweep)
    from sweeplaw.trials.workloads.language_model.coordinate_check import check_coordinates, slopes

    with progress_bar("training") as progress:
        found = check_coordinates(workload, spec, sizes, steps, progress)
    grown = slopes(found)
    if out is not None:
        from sweeplaw.orchestrator.cli.training.coordinate_figure import changes_by_width

        write_picture(out, changes_by_width(found))
    if json:
        exponents = [
            {"parametrization": name, "layer": layer, "exponent": value} for (name, layer), value in grown.items()
        ]
        emit_json({"widths": sizes, "steps": steps, "exponents": exponents, "changes": _rows(found)})
        return
    typer.echo(f"exponent of the width in the change of activations after {steps} steps, widths {widths}")
    for (name, layer), value in grown.items():
        words = "moves with the width" if abs(value) > MOVES_WITH_WIDTH else "alike at every width"
        typer.echo(f"  {name:8}  {_layer(layer):9}  {value:z6.2f}  {words}")


def _widths(text: str) -> list[int]:
    from sweeplaw.trials.errors import InputError

    try:
        return sorted({int(part) for part in text.split(",")})
    except ValueError:
        raise InputError(f"--widths {text} (accepted: whole numbers, such as 64,128,256)") from None


def _layer(name: str) -> str:
    return f"block {name}" if name.isdigit() else name


def _rows(found: Sequence[CoordinateChange]) -> list[dict[str, str | int | float]]:
    names = ("parametrization", "width", "step", "layer", "change")
    return [{name: getattr(item, name) for name in names} for item in found]
