"""The tree of commands is that of the golden file: every option with its names, type, bounds and default."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from sweeplaw.orchestrator.cli import app
from tests.golden.make import EXPECTED, commands


def flat(tree: dict[str, Any], name: str = "sweeplaw") -> dict[str, Any]:
    """Return the parameters of every command by its name and theirs."""
    found = {f"{name} {one['name']}": one for one in tree["parameters"]}
    for child, below in tree["commands"].items():
        found |= flat(below, f"{name} {child}")
    return found


def leaves(command: Any, name: str = "sweeplaw") -> Iterator[tuple[str, Any]]:
    """Yield every command that has no commands below it, with its name."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for child, one in below.items():
        yield from leaves(one, f"{name} {child}")


@pytest.mark.heavy
def test_every_command_has_the_options_and_defaults_of_the_golden_file() -> None:
    expected = json.loads((EXPECTED / "commands.json").read_text(encoding="utf-8"))
    found = json.loads(json.dumps(commands()))
    assert flat(found) == flat(expected)
    assert found == expected, "the commands, in their order"


def test_an_option_that_may_be_given_several_times_says_so() -> None:
    several = {
        f"{name} {option.opts[0]}": option.help or ""
        for name, command in leaves(get_command(app))
        for option in command.params
        if option.param_type_name == "option" and option.multiple
    }
    assert "recipes --crossing" in {key.removeprefix("sweeplaw ") for key in several}
    assert not [key for key, help_text in several.items() if "repeatable" not in help_text]
