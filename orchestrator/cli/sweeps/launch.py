"""`sweeplaw launch`: run the missing trials of a sweep."""

from __future__ import annotations

import contextlib
import shlex
import signal
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeplaw.orchestrator.cli.shared import remote
from sweeplaw.orchestrator.cli.shared.exits import NOT_WRITTEN, TRIALS_FAILED, UNEXPECTED, UNWRITTEN
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json
from sweeplaw.orchestrator.cli.shared.progress import progress_bar
from sweeplaw.orchestrator.cli.shared.signals import Signals, StoppedBySignal
from sweeplaw.orchestrator.cli.shared.streams import OutputLost, Results, stdout_is_optional
from sweeplaw.orchestrator.cli.sweeps.search import print_recommended

if TYPE_CHECKING:
    from sweeplaw.clusters.profile.profile import Profile
    from sweeplaw.orchestrator.launch.launch import Launched
    from sweeplaw.orchestrator.plan.plan import Plan
    from sweeplaw.orchestrator.sinks import SinkTarget

EXIT_CODES = {"budget": 4, "preempted": 128 + signal.SIGTERM}
SHOWN = 8  # trials that a message names
CONTINUES = "recorded results are safe; relaunch to continue"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("launch")(launch)


def launch(
    sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
    store: Annotated[str, typer.Option(help="Where results go: a folder or a URI such as s3://bucket/results.")],
    cluster: Annotated[
        str, typer.Option(help="inline (this process), local (a private Ray), or a profile file.")
    ] = "local",
    log_to: Annotated[
        str, typer.Option(metavar="A,B", help="Mirror records to tensorboard:DIR, mlflow:URI or wandb:PROJECT.")
    ] = "",
    metrics: Annotated[
        str | None, typer.Option(metavar="WHERE", help="Export Prometheus metrics at 127.0.0.1:PORT or to file:PATH.")
    ] = None,
    json: Json = False,
) -> None:
    """Run the missing trials of a sweep and record every outcome.

    Launching again continues an interrupted sweep and extends a changed one. Exit code 1: the store cannot be written
    (a full disk); 4: the sweep's hours are used up (a search that has spent its budget of trials or FLOPs is complete,
    which is 0); 5: trials failed, or ran out of memory; 143: ended by SIGTERM or SIGHUP, after the workers wrote their
    checkpoints; 130: interrupted.

    With a profile whose address is ray://host:10001 (Ray Client), the launch itself runs on that cluster and ends with
    this command; the store and the targets of --log-to and --metrics must then be reachable from the cluster.

    Example: sweeplaw launch orchestrator/sweeps/surrogate.toml --store results/surrogate
    """
    stdout_is_optional()
    signals, results = Signals(), Results()
    with _exit_codes(signals), signals.handled():
        made, profile, sinks = _prepared(sweep, cluster, log_to)
        if profile.over_client:
            code = _run_on_cluster(profile, made.sweep.text, store, sinks, metrics, json)
        else:
            results.reserve()  # from here on this process may run code of the user, which may print
            done, not_logged = _run(made, store, profile, sinks, metrics, signals)
    if profile.over_client:
        raise typer.Exit(code)
    with results.printed():
        if json:
            emit_json(_values(done, store, not_logged))
        else:
            _print(done, store)
    _report_end(done)


def _prepared(sweep: str, cluster: str, log_to: str) -> tuple[Plan, Profile, tuple[SinkTarget, ...]]:
    """Return the plan of the sweep, the profile of the cluster, and the sinks of the sweep and of this launch."""
    from sweeplaw.clusters.profile.profile import load
    from sweeplaw.orchestrator.plan.estimate import unkept_ensembles, unknown_sizes
    from sweeplaw.orchestrator.plan.plan import plan
    from sweeplaw.orchestrator.plan.sweep import read
    from sweeplaw.orchestrator.sinks import targets

    profile = load(cluster)
    with progress_bar("planning") as progress:
        made = plan(read(sweep), progress)
    for sentence in [*unknown_sizes(made), *unkept_ensembles(made.sweep)]:
        _warn(sentence)
    return made, profile, tuple(dict.fromkeys([*made.sweep.log_to, *targets([log_to])]))


def _run(
    made: Plan, store: str, profile: Profile, sinks: Collection[SinkTarget], metrics: str | None, signals: Signals
) -> tuple[Launched, dict[str, int]]:
    """Run the plan. Return the result, and the number of rows that each sink has not received."""
    from sweeplaw.orchestrator.launch.launch import launch as run
    from sweeplaw.orchestrator.launch.state import LaunchState
    from sweeplaw.orchestrator.monitor.progress_bar import LaunchProgress
    from sweeplaw.orchestrator.monitor.prometheus import launch_metrics
    from sweeplaw.orchestrator.sinks.feed import open_feeds
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.store_format.location import locate

    launch_state = signals.launch_state = LaunchState(notify=_warn)
    signals.grace_seconds = profile.grace_seconds
    with (
        LaunchProgress(launch_state) as progress,
        open_feeds(sinks, made.sweep.name, _warn) as feeds,
        launch_metrics(metrics, launch_state, made.sweep.name, feeds, _warn),
    ):
        location = locate(store)
        opened = Store(location) if location.is_vacant() else Store.open(store, create=True)
        done = run(made, opened, profile, progress, *feeds, launch_state=launch_state)
    return done, {feed.name: feed.dropped for feed in feeds if feed.dropped}


@contextlib.contextmanager
def _exit_codes(signals: Signals) -> Iterator[None]:
    """Turn a signal into its exit code, and a store that cannot be written into exit code 1.

    What would end the process as if the launch had ended by itself (the code of a trial may raise it in any thread)
    becomes exit code 70.
    """
    try:
        yield
    except KeyboardInterrupt:  # Ray raises one of its own instead of ours
        stopped = signals.stopped or StoppedBySignal(signal.SIGINT)
        _warn(f"{stopped}; {CONTINUES}")
        raise typer.Exit(stopped.exit_code) from None
    except (SystemExit, typer.Exit, OutputLost) as error:
        _warn(f"stopped: {type(error).__name__} was raised in the launch; {CONTINUES}")
        raise typer.Exit(UNEXPECTED) from None
    except Exception as error:
        if (reason := _unwritable(error)) is None:
            raise
        _warn(f"stopped: {reason}")
        raise typer.Exit(NOT_WRITTEN) from None


def _unwritable(error: Exception) -> str | None:
    """Return what to say of an error if it is that the store cannot be written."""
    from sweeplaw.orchestrator.store.writer import StoreWriteError

    if isinstance(error, StoreWriteError):
        return f"{error}; relaunch to continue"
    return f"{error}; {CONTINUES}" if isinstance(error, OSError) and error.errno in UNWRITTEN else None


def _run_on_cluster(
    profile: Profile, sweep: str, store: str, sinks: Collection[SinkTarget], metrics: str | None, json: bool
) -> int:
    """Run the launch on the cluster, with its output here, and return its exit code."""
    from sweeplaw.clusters.connect import client
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP

    _, *arguments = remote.launch_command(SWEEP, CLUSTER, remote.shared_path("store", store))
    for target in sinks:
        if target.kind != "wandb":  # its place is the name of a project; that of the others may be a folder
            remote.shared_path(f"log_to {target.kind}", target.place)
    arguments += ["--log-to", ",".join(target.name for target in sinks)]
    if metrics:
        arguments += ["--metrics", _shared_metrics(metrics)]
    _warn(f"the launch runs on the cluster at {profile.address} and ends with this command")
    try:
        arguments = ["-m", "sweeplaw", *arguments, *["--json"] * json]
        return client.run(profile, arguments, sweep=sweep, out=sys.stdout.buffer, err=sys.stderr.buffer)
    except StoppedBySignal:
        raise
    except KeyboardInterrupt:
        _warn("interrupted; the launch on the cluster ends; recorded results are safe; relaunch to continue")
        return 130


def _shared_metrics(metrics: str) -> str:
    """Return the target of metrics if it does not depend on this machine. Raise InputError."""
    from sweeplaw.orchestrator.monitor.prometheus import metrics_target

    if metrics_target(metrics).path:
        remote.shared_path("metrics", metrics.removeprefix("file:"))
    return metrics


def _values(done: Launched, store: str, not_logged: Mapping[str, int]) -> dict[str, Any]:
    return {
        "launch_id": done.launch_id,
        "store": store,
        "planned": done.planned,
        "already": done.already,
        "elsewhere": done.elsewhere,
        "ran": sum(done.states.values()),
        "states": done.states,
        "again": done.retries,
        "device_seconds": {"useful": done.usage.useful, "wasted": done.usage.wasted},
        "not_logged": not_logged,
        "ended": done.end.reason if done.end else None,
        "search_ended": done.search_end or None,
        "recommended": done.recommended,
        "failed_earlier": done.failed_earlier,
        "without_weights": done.without_weights,
        "failures": [asdict(cause) for cause in done.failures],
        "exit_code": _exit_code(done),
        "problems": done.problems,
    }


def _print(done: Launched, store: str) -> None:
    from sweeplaw.orchestrator.launch.failures import sentences
    from sweeplaw.trials.quantities import counted

    states = ", ".join(f"{count} {state}" for state, count in sorted(done.states.items()))
    states = states or ("no trial ended" if done.end else "nothing to run")
    retries = (
        f" ({counted(done.retries, 'attempt')} {'was' if done.retries == 1 else 'were'} retried)"
        if done.retries
        else ""
    )
    typer.echo(f"{states}{retries}; {done.already} of {done.planned} were in the store before")
    if done.states:
        typer.echo(done.usage.sentence())
    if done.search_end:
        typer.echo(f"the search ended: {done.search_end}")
    print_recommended(done.recommended)
    for line in sentences(done.failures, store):
        typer.echo(line)
    if done.states.get("preempted") and done.end is None:
        typer.echo("preempted trials will run again on the next launch")
    if done.failed_earlier:
        again = f"sweeplaw retry {shlex.quote(store)} --state failed,out_of_memory"
        typer.echo(f"{counted(done.failed_earlier, 'trial')} failed in earlier launches; to run them again: {again}")
    if done.without_weights:
        trials, some = done.without_weights, " ".join(done.without_weights[:SHOWN])
        again = f"sweeplaw retry {shlex.quote(store)} {some}{' …' * (len(trials) > SHOWN)}, then launch"
        saved = "has no saved weights; to retrain it" if len(trials) == 1 else "have no saved weights; to retrain them"
        typer.echo(f"{counted(len(trials), 'completed trial')} {saved}: {again}")
    if done.elsewhere:
        typer.echo(f"{done.elsewhere} are being run by another launch")
    for problem in done.problems:
        typer.echo(f"problem: {problem}", err=True)


def _exit_code(done: Launched) -> int:
    from sweeplaw.orchestrator.launch.failures import UNSETTLED

    if done.end is not None and not done.end.failing:
        return EXIT_CODES[done.end.state]
    return TRIALS_FAILED if done.end or done.failed_earlier or done.states.keys() & set(UNSETTLED) else 0


def _report_end(done: Launched) -> None:
    """If the launch ended early, print the reason; exit with its code."""
    if done.end is not None:
        how = " with a larger budget" if done.end.state == "budget" else ""
        _warn(f"stopped: {done.end.reason}; recorded results are safe; relaunch{how} to continue")
    if code := _exit_code(done):
        raise typer.Exit(code)


def _warn(message: str) -> None:
    typer.echo(f"sweeplaw: {message}", err=True)
