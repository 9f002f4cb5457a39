"""The laws of docs/laws.md, from the catalog.

python docs/laws.py            # rewrite docs/laws.md
python docs/laws.py --check    # exit code 1 if it is out of date
"""

from __future__ import annotations

import sys
from pathlib import Path

from sweeplaw.analysis.fitting.observations import STORE_COLUMNS
from sweeplaw.analysis.laws.catalog import ALIASES, INPUT_UNITS, LAWS
from sweeplaw.analysis.laws.law import Law, Param

PAGE = Path(__file__).resolve().parent / "laws.md"
HEAD = """# Laws

Made by `python docs/laws.py` from the catalog; a test keeps it up to date. `sweeplaw fit SOURCE --law NAME` fits one, a
formula of your own is one too ([usage.md](usage.md#laws)), and `sl.LAWS[NAME].formula` is what is computed.
"""
INPUTS = """
## Inputs

`--x INPUT=COLUMN` names the column, or an expression of columns, of any input that has another name. In a store of our
own the columns below are used. Losses are in nats a token where a parameter's unit says nats; another unit of the loss
(bits a character) takes its place.

| input | unit | column of a store |
|---|---|---|
"""


def row(law: Law) -> str:
    """Return the line of a law: its names, inputs, parameters with their units, and its form with the source."""
    names = [law.name, *(alias for alias, name in ALIASES.items() if name == law.name)]
    params = ", ".join(_param(param) for param in law.params)
    return f"| {', '.join(f'`{name}`' for name in names)} | {', '.join(law.inputs)} | {params} | {law.source} |"


def _param(param: Param) -> str:
    return f"{param.name} ({param.unit})" if param.unit else param.name


def page() -> str:
    """Return docs/laws.md."""
    table = ["| law | inputs | parameters | form and source |", "|---|---|---|---|", *map(row, LAWS.values())]
    columns = {name: f"`{STORE_COLUMNS[name]}`" if name in STORE_COLUMNS else "none" for name in INPUT_UNITS}
    inputs = [f"| {name} | {unit} | {columns[name]} |" for name, unit in INPUT_UNITS.items()]
    return "\n".join([HEAD, *table]) + "\n" + INPUTS + "\n".join(inputs) + "\n"


if __name__ == "__main__":
    from generated import write_or_check  # beside this script

    sys.exit(write_or_check(PAGE, page()))
