"""The tree of commands is that of the golden file: every option with its names, type, bounds and default."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.golden.make import EXPECTED, commands


def flat(tree: dict[str, Any], name: str = "sweeplaw") -> dict[str, Any]:
    """Return the parameters of every command by its name and theirs."""
    found = {f"{name} {one['name']}": one for one in tree["parameters"]}
    for child, below in tree["commands"].items():
        found |= flat(below, f"{name} {child}")
    return found


@pytest.mark.heavy
def test_every_command_has_the_options_and_defaults_of_the_golden_file() -> None:
    expected = json.loads((EXPECTED / "commands.json").read_text(encoding="utf-8"))
    found = json.loads(json.dumps(commands()))
    assert flat(found) == flat(expected)
    assert found == expected, "the commands, in their order"
