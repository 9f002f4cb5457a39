"""Pages of the site that are made from code: commands with their options, and published hyperparameter laws."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from docs import gallery
from sweeplaw.analysis.hyperlaws.published import LAWS, PublishedLaw
from sweeplaw.orchestrator.cli import app

BAR = "\\|"  # in a cell of a table
COUNTED = {
    "non_embedding": "parameters without embeddings",
    "total": "all parameters",
    "with_head": "parameters without embeddings, and the output head",
}
PUBLISHED = """\
# Published laws

For the best learning rate, batch size and weight decay. `sweeplaw suggest --law NAME` evaluates one, and
`sweeplaw compare-laws` ranks them on your runs. *Verified* means: checked in the original paper or its code.
"""


def pages() -> dict[str, str]:
    """Return the pages by path."""
    return {"commands.md": commands(), "published.md": published(), "gallery.md": gallery.page()}


def commands() -> str:
    """Return the page of the commands."""
    head = "# Commands\n\nMade from the commands. `sweeplaw COMMAND --help` prints the same.\n"
    return "\n".join([head, *_commands("sweeplaw", get_command(app))])


def _commands(name: str, command: Any) -> Iterator[str]:
    below = getattr(command, "commands", {})
    if below:
        for child, one in below.items():
            yield from _commands(f"{name} {child}", one)
        return
    text = inspect.cleandoc(command.help or "")
    about, _, example = text.rpartition("Example: ")
    yield f"## {name}\n\n{_escaped(about.strip())}\n\n```bash\n{example.strip()}\n```\n"
    rows = [_row(one) for one in command.params if not getattr(one, "hidden", False)]
    yield "\n".join(["| | | without it |", "|---|---|---|", *rows]) + "\n"


def _row(parameter: Any) -> str:
    """Return the line of an argument or option: its names and value, its help, its default."""
    value = "" if getattr(parameter, "is_flag", False) else parameter.metavar or parameter.name.upper()
    options = " / ".join([*parameter.opts, *parameter.secondary_opts])
    names = value if parameter.param_type_name == "argument" else f"{options} {value}".strip()
    shown = isinstance(parameter.default, str | float | int) and parameter.default is not False
    without = "required" if parameter.required else f"`{parameter.default}`" if shown else ""
    return f"| `{names.replace('|', BAR)}` | {_escaped(parameter.help or '')} | {without} |"


def published() -> str:
    """Return the page of the published laws."""
    return "\n".join([PUBLISHED, *map(_published, LAWS.values())])


def _published(law: PublishedLaw) -> str:
    counted = f"N counts {COUNTED[law.parameters]}" if law.parameters in COUNTED else "no N"
    lines = [
        f"## {law.name}\n",
        f"{_escaped(law.title)}\n",
        f"    {law.formula}\n",
        f"- Sets {', '.join(f'`{knob}`' for knob in law.knobs) or 'nothing by itself: exponents only'}; {counted}",
        f"- {_escaped(law.units)}",
        f"- Source: {_escaped(law.source)}",
        f"- Standing: {_escaped(law.standing)}\n",
    ]
    return "\n".join(lines)


def _escaped(text: str) -> str:
    """Return text in which nothing but what stands in backticks is markup."""
    parts = text.split("`")
    for index in range(0, len(parts), 2):
        for sign in "<*_|[":
            parts[index] = parts[index].replace(sign, "&lt;" if sign == "<" else f"\\{sign}")
    return "`".join(parts)
