"""`sweeplaw profile`: where the time and memory of a trial go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.trials.quantities import counted, short

if TYPE_CHECKING:
    from sweeplaw.trials.workloads.language_model.step_profile import StepProfile


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("profile")(profile)


def profile(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file of a language model.")],
    steps: Annotated[int, typer.Option(min=1, help="Steps to time, after two that are not counted.")] = 20,
    device: Annotated[
        Literal["cpu", "cuda"] | None, typer.Option(help="[default: cuda if there is one]", show_default=False)
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of the trial.")] = 1,
    json: Json = False,
) -> None:
    """Train the first trial of a sweep for some steps here: seconds in data, forward, backward, optimizer and
    evaluation, model FLOPs utilization, and memory against the estimate of `sweeplaw plan`.

    The peak of a GPU is that of its maker's data sheet, for the number type of its matrix products; that of CPU threads
    is measured by a float32 product.

    Example: sweeplaw profile orchestrator/sweeps/demo.toml --steps 5
    """
    import torch

    from sweeplaw.orchestrator.cli.training.first_trial import first_trial
    from sweeplaw.trials.errors import InputError

    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: this machine has no CUDA device (accepted here: cpu)")
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    workload, spec = first_trial(sweep)
    from sweeplaw.trials.workloads.language_model.step_profile import profile_steps

    peak = _data_sheet_peak(torch.cuda.get_device_name(), spec["precision"]) if chosen == "cuda" else None
    found = profile_steps(workload, spec, chosen, steps, threads, peak)
    if json:
        parts = {f"{name}_seconds": seconds for name, seconds in found.parts.items()}
        names = (
            *("device", "steps", "step_seconds", "evaluation_seconds", "tokens_per_second", "flops"),
            *("flops_convention", "peak_flops", "mfu", "peak_bytes", "planned_bytes"),
        )
        emit_json({"trial_id": spec.trial_id, **parts, **{name: getattr(found, name) for name in names}})
    else:
        _print(found)


def _data_sheet_peak(model: str, precision: str) -> float | None:
    """Return the FLOP/s of a GPU by its name, None for an unknown one."""
    from sweeplaw.clusters.profile.hardware import of_model

    known = of_model(model)
    return None if known is None else known.peak.get("bf16" if precision == "bfloat16" else "fp32")


def _print(found: StepProfile) -> None:
    typer.echo(
        f"{counted(found.steps, 'step')} on {found.device}: {1000 * found.step_seconds:.3g} ms a step, ", nl=False
    )
    typer.echo(f"{short(found.tokens_per_second)} tokens/s")
    for name, seconds in found.parts.items():
        typer.echo(f"  {name:10} {1000 * seconds:9.3g} ms  {100 * seconds / found.step_seconds:5.1f} %")
    typer.echo(f"  one evaluation takes {found.evaluation_seconds:.3g} s")
    speed = f"{short(found.flops / found.step_seconds)} FLOP/s by the {found.flops_convention} convention"
    if found.mfu is None:
        typer.echo(f"{speed}; the peak of this device is not known")
    else:
        typer.echo(f"{speed}: {100 * found.mfu:.1f} % of the device's {short(found.peak_flops or 0)} (MFU)")
    held = "is not measured here" if found.peak_bytes is None else f"{found.peak_bytes / 1e6:.4g} MB"
    # Of a CPU it is that of the process: 1.07 to 1.4 times what its tensors take (measured).
    free = " with what the heap holds free" if found.device == "cpu" and found.peak_bytes is not None else ""
    typer.echo(f"memory of training {held}{free}, planned {found.planned_bytes / 1e6:.4g} MB of tensors")
