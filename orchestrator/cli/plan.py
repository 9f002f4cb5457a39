"""`sweeplaw plan`: what would run, what it costs, what was dropped and why; starts nothing."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestrator.cli.output import Json, emit_json


def register(app: typer.Typer) -> None:
    @app.command()
    def plan(
        sweep: Annotated[str, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
        cluster: Annotated[str, typer.Option(help="Estimate for this cluster profile.")] = "local",
        store: Annotated[str | None, typer.Option(help="Subtract what this store already has.")] = None,
        trials: Annotated[bool, typer.Option("--trials", help="List every trial.")] = False,
        json: Json = False,
    ) -> None:
        """Show the trials of a sweep and what they cost; start nothing.

        Example: sweeplaw plan orchestrator/sweeps/demo.toml
        """
        from clusters import profile
        from orchestrator.plan import plan as make
        from orchestrator.planned import estimate, listing, render
        from orchestrator.sweep import read

        made = make(read(sweep))
        if store is not None:
            from orchestrator.store import Store

            finished = Store.open(store).finished()
            made = made.only({trial_id for trial_id in made.ids if trial_id not in finished})
        cost = estimate(made, profile.load(cluster))
        if json:
            emit_json({**cost, "listing": listing(made)} if trials else cost)
        else:
            render(cost, listing(made) if trials else [])
