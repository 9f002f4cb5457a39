"""The command line: each command parses its options, calls one function of the library, and prints.

`sweeps/` runs sweeps, `tables/` reads and moves rows, `laws/` fits, `shared/` holds what several commands use. Each
command is the module of its name and imports the library inside its body, so that `sweeplaw --help` starts without
Polars, torch or Ray.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from sweeplaw.trials.errors import InputError

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
    "sweeps.retry",
    "tables.query",
    "tables.columns",
    "tables.import_",
    "tables.export",
    "tables.diff",
    "tables.compact",
    "laws.fit",
    "laws.hyperlaw",
    "laws.suggest",
    "laws.compare_laws",
    "laws.batch_lr",
    "laws.importance",
    "laws.transfer",
    "laws.report",
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
    """Launch cluster sweeps, query their tables, and turn them into scaling laws with honest uncertainty."""


def main() -> None:
    """Run the `sweeplaw` command. On bad input print one message, without a traceback, and exit with code 2."""
    try:
        app()
    except InputError as error:
        typer.echo(f"sweeplaw: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of stdout (head, less) has closed it
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a file or folder named by the user cannot be read or written
        if error.filename is None:
            raise
        typer.echo(f"sweeplaw: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
