"""The command line: a skin over the library. Each command parses, calls one function, prints.

`sweeps/` runs sweeps, `tables/` reads and moves rows, `laws/` fits. A command lives in the module of its name and
imports what it needs inside its body, so that `sweeplaw --help` starts without polars, torch or Ray.
"""

from __future__ import annotations

import importlib
import sys

import typer

from sweeplaw.clusters.errors import ClusterError
from sweeplaw.trials.errors import InputError

app = typer.Typer(
    name="sweeplaw",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help: rich costs a quarter of the 0.4 s that help may take
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Launch cluster sweeps, query their tables, and turn them into scaling laws with honest uncertainty.",
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


def main() -> None:
    """Entry point of the `sweeplaw` command. Bad input: one message on stderr, exit code 2, no traceback."""
    try:
        app()
    except (InputError, ClusterError) as error:
        typer.echo(f"sweeplaw: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output (head, less) has gone
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # a file or folder that was named, and cannot be read or written
        if error.filename is None:
            raise
        typer.echo(f"sweeplaw: {error.filename}: {error.strerror}", err=True)
        sys.exit(2)
