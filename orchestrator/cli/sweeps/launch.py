"""`sweeplaw launch`: run what is missing of a sweep."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared import remote
from sweeplaw.orchestrator.cli.shared.output import Json, counting, emit_json

if TYPE_CHECKING:
    from sweeplaw.clusters.profile.profile import Profile
    from sweeplaw.orchestrator.launch.launch import Launched
    from sweeplaw.orchestrator.sinks import Target

EXIT_CODES = {"budget": 4, "preempted": 128 + signal.SIGTERM}


def register(app: typer.Typer) -> None:
    @app.command()
    def launch(
        sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
        store: Annotated[str, typer.Option(help="Where results go: a folder or a URI such as s3://bucket/results.")],
        cluster: Annotated[
            str, typer.Option(help="inline (this process), local (a private Ray), or a profile file.")
        ] = "local",
        log_to: Annotated[
            str, typer.Option(metavar="A,B", help="Also show records in tensorboard:DIR, mlflow:URI, wandb:PROJECT.")
        ] = "",
        metrics: Annotated[
            str | None, typer.Option(metavar="WHERE", help="Prometheus metrics at 127.0.0.1:PORT or in file:PATH.")
        ] = None,
        json: Json = False,
    ) -> None:
        """Run a sweep on a cluster and record every outcome.

        Launching again runs only what is missing, so it is also how to continue after an interrupt and how to extend
        a sweep. Exit code 1: the store cannot be written (a full disk); 4: the sweep's budget is used up; 143: told to
        end (SIGTERM), after the workers wrote their checkpoints; 130: interrupted.

        With a profile whose address is ray://host:10001 (Ray Client) the launch itself runs on that cluster and ends
        with this command; the store, and what --log-to and --metrics name, must then be where the cluster reaches it.

        Example: sweeplaw launch orchestrator/sweeps/surrogate.toml --store results/surrogate
        """
        from sweeplaw.clusters.profile import profile
        from sweeplaw.orchestrator.launch.launch import launch as run
        from sweeplaw.orchestrator.launch.state import End, LaunchState
        from sweeplaw.orchestrator.monitor.progress_bar import LaunchProgress
        from sweeplaw.orchestrator.monitor.prometheus import showing
        from sweeplaw.orchestrator.plan.plan import plan
        from sweeplaw.orchestrator.plan.sweep import read
        from sweeplaw.orchestrator.sinks import targets
        from sweeplaw.orchestrator.sinks.feed import feeding
        from sweeplaw.orchestrator.store.store import Store
        from sweeplaw.orchestrator.store.writer import StoreWriteError

        where = profile.load(cluster)
        with counting("planning") as watch:
            made = plan(read(sweep), watch)
        also = dict.fromkeys([*made.sweep.log_to, *targets([log_to])])
        if where.over_client:
            raise typer.Exit(_over_client(where, made.sweep.text, store, also, metrics, json))
        live = LaunchState()

        def wind_down(number: int, frame: object) -> None:
            """The first notice lets workers write their checkpoints; the second ends the launch where it stands."""
            if live.ending:
                raise KeyboardInterrupt
            live.wind_down(End("preempted", f"told to end by {signal.Signals(number).name}"))

        signal.signal(signal.SIGTERM, wind_down)
        try:
            with (
                LaunchProgress(live) as progress,
                feeding(also, made.sweep.name, _warn) as feeds,
                showing(metrics, live, made.sweep.name, feeds, _warn),
            ):
                done = run(made, Store.open(store, create=True), where, progress, *feeds, live=live)
        except KeyboardInterrupt:
            typer.echo("sweeplaw: interrupted; what was recorded is safe, and launching again continues", err=True)
            raise typer.Exit(130) from None
        except StoreWriteError as error:
            typer.echo(f"sweeplaw: stopped: {error}; launching again continues", err=True)
            raise typer.Exit(1) from None
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            typer.echo(
                f"sweeplaw: stopped: {error}; what was recorded is safe, and launching again continues", err=True
            )
            raise typer.Exit(1) from None
        if json:
            emit_json(
                {
                    "launch_id": done.launch_id,
                    "store": store,
                    "planned": done.planned,
                    "already": done.already,
                    "elsewhere": done.elsewhere,
                    "ran": sum(done.states.values()),
                    "states": done.states,
                    "again": done.again,
                    "device_seconds": {"useful": done.usage.useful, "wasted": done.usage.wasted},
                    "not_logged": {feed.name: feed.dropped for feed in feeds if feed.dropped},
                    "ended": done.end.why if done.end else None,
                    "problems": done.problems,
                }
            )
            _tell_end(done)
            return
        states = ", ".join(f"{count} {state}" for state, count in sorted(done.states.items())) or "nothing to run"
        again = f" ({done.again} attempts were followed by another)" if done.again else ""
        typer.echo(f"{states}{again}; {done.already} of {done.planned} were in the store before")
        if done.states:
            typer.echo(done.usage.sentence())
        if done.elsewhere:
            typer.echo(f"{done.elsewhere} are being run by another launch")
        for problem in done.problems:
            typer.echo(f"problem: {problem}", err=True)
        _tell_end(done)


def _over_client(
    where: Profile, sweep: str, store: str, also: Iterable[Target], metrics: str | None, json: bool
) -> int:
    """Have the same launch run on the cluster, shown here: its exit code."""
    from sweeplaw.clusters.connect import client
    from sweeplaw.clusters.connect.driver import CLUSTER, SWEEP

    _, *words = remote.command(SWEEP, CLUSTER, remote.shared("store", store))
    for target in also:
        if target.kind != "wandb":  # whose place is a project's name; of the others it may be a folder
            remote.shared(f"log_to {target.kind}", target.place)
    words += ["--log-to", ",".join(target.name for target in also)]
    if metrics:
        words += ["--metrics", _there(metrics)]
    _warn(f"the launch will run on the cluster at {where.address} and end with this command")
    try:
        words = ["-m", "sweeplaw", *words, *["--json"] * json]
        return client.run(where, words, sweep=sweep, out=sys.stdout.buffer, err=sys.stderr.buffer)
    except KeyboardInterrupt:
        _warn("left; what was recorded is safe, the launch ends there, and launching again continues")
        return 130


def _there(metrics: str) -> str:
    """Where metrics go, as a machine of the cluster takes it."""
    from sweeplaw.orchestrator.monitor.prometheus import metrics_target

    if metrics_target(metrics).path:
        remote.shared("metrics", metrics.removeprefix("file:"))
    return metrics


def _warn(words: str) -> None:
    typer.echo(f"sweeplaw: {words}", err=True)


def _tell_end(done: Launched) -> None:
    """Why the launch ended before its trials had, and an exit code of its own for each reason."""
    if done.end is None:
        return
    how = "a larger budget" if done.end.state == "budget" else "launching again"
    typer.echo(f"sweeplaw: stopped: {done.end.why}; what was recorded is safe, and {how} continues", err=True)
    raise typer.Exit(EXIT_CODES[done.end.state])
