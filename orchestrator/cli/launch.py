"""`sweeplaw launch`: run what is missing of a sweep."""

from __future__ import annotations

import signal
from typing import Annotated

import typer

from orchestrator.cli.output import Json, emit_json


def register(app: typer.Typer) -> None:
    @app.command()
    def launch(
        sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
        store: Annotated[str, typer.Option(help="Where results go: a folder or a URI such as s3://bucket/results.")],
        cluster: Annotated[
            str, typer.Option(help="inline (this process), local (a private Ray), or a profile file.")
        ] = "local",
        json: Json = False,
    ) -> None:
        """Run a sweep on a cluster and record every outcome.

        Launching again runs only what is missing, so it is also how to continue after an interrupt and how to extend
        a sweep.

        Example: sweeplaw launch orchestrator/sweeps/surrogate.toml --store results/surrogate
        """
        from clusters import profile
        from orchestrator.launch import launch as run
        from orchestrator.livebar import LaunchProgress
        from orchestrator.plan import plan
        from orchestrator.store import Store
        from orchestrator.sweep import read
        from orchestrator.writer import StoreWriteError

        where = profile.load(cluster)
        made = plan(read(sweep))
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            with LaunchProgress() as progress:
                done = run(made, Store.open(store, create=True), where, progress)
        except KeyboardInterrupt:
            typer.echo("sweeplaw: interrupted; what was recorded is safe, and launching again continues", err=True)
            raise typer.Exit(130) from None
        except StoreWriteError as error:
            typer.echo(f"sweeplaw: stopped: {error}; launching again continues", err=True)
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
                    "problems": done.problems,
                }
            )
            return
        states = ", ".join(f"{count} {state}" for state, count in sorted(done.states.items())) or "nothing to run"
        typer.echo(f"{states}; {done.already} of {done.planned} were in the store before")
        if done.elsewhere:
            typer.echo(f"{done.elsewhere} are being run by another launch")
        for problem in done.problems:
            typer.echo(f"problem: {problem}", err=True)


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
