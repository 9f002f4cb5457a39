"""The command line: each command parses its options, calls one function of the library, and prints.

`sweeps/` runs sweeps, `tables/` reads and moves rows, `laws/` fits, `pages/` writes what people look at, `training/`
looks at how models train, `programs/` serves editors and agents, `shared/` holds what several commands use. Each
command is the module of its name and imports the library inside its body, so that `sweeplaw --help` starts without
Polars, torch or Ray.
"""

from __future__ import annotations

import importlib
import signal
import sys
from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared import environment, exits, streams

app = typer.Typer(
    name="sweeplaw",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich costs a quarter of the 0.4 s that help may take
    context_settings={"help_option_names": ["-h", "--help"]},
)

# In the order of the help text. Each is a module here that defines `register(app)`.
COMMANDS: tuple[str, ...] = (
    "sweeps.plan",
    "sweeps.launch",
    "sweeps.status",
    "pages.watch",
    "pages.serve",
    "sweeps.show",
    "sweeps.logs",
    "sweeps.retry",
    "sweeps.derive",
    "sweeps.next_runs",
    "sweeps.compare_searches",
    "tables.query",
    "tables.columns",
    "tables.import_",
    "tables.exclude",
    "tables.export",
    "tables.export_checkpoint",
    "tables.evaluate",
    "tables.sample",
    "tables.diff",
    "tables.compact",
    "laws.fit",
    "laws.predict",
    "laws.forecast",
    "laws.hyperlaw",
    "laws.suggest",
    "laws.compare",
    "laws.recipes",
    "laws.rungs",
    "laws.compare_laws",
    "laws.batch_lr",
    "laws.importance",
    "laws.transfer",
    "laws.best_of",
    "laws.time_law",
    "pages.report",
    "pages.figure",
    "training.profile",
    "training.coordinate_check",
    "training.refine_schedule",
    "programs.schema",
    "programs.mcp",
    "sweeps.cluster",
)

for _name in COMMANDS:
    importlib.import_module(f"{__name__}.{_name}").register(app)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib import metadata

        typer.echo(f"sweeplaw {metadata.version('sweeplaw')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    """Launch cluster sweeps, query their tables, and turn them into scaling laws with intervals of tested coverage."""


def main() -> None:
    """Run the `sweeplaw` command and exit; whatever happens, with one message and without a traceback."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # while it loaded
        signal.signal(signal.SIGINT, signal.default_int_handler)
    streams.secure()
    exits.exit_process(exits.exit_code(_run, " ".join(["sweeplaw", *sys.argv[1:2]])))


def _run() -> None:
    streams.check_arguments(sys.argv[1:])
    environment.check()
    environment.quiet()
    app()
