"""The root of the command: its version, shell completion, and an import without heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app

pytestmark = pytest.mark.process

HEAVY = ("torch", "ray", "polars")
RUN = "import sys; from sweeplaw.orchestrator.cli import main; sys.argv[0] = 'sweeplaw'; main()"


def complete(shell: str, **variables: str) -> str:
    """Return the answer to the completion script of ``shell``."""
    environment = {**os.environ, "_SWEEPLAW_COMPLETE": f"complete_{shell}", **variables}
    done = subprocess.run([sys.executable, "-c", RUN], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout


def test_version_prints_the_installed_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"sweeplaw {metadata.version('sweeplaw')}\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("sweeplaw la", {"launch"}),
        ("sweeplaw co", {"columns", "compact", "compare", "compare-laws", "compare-searches", "coordinate-check"}),
        ("sweeplaw cluster ", {"slurm", "kuberay", "ray", "aws", "gcp"}),
        ("sweeplaw launch --lo", {"--log-to"}),
    ],
)
def test_bash_completes_commands_and_options(words: str, expected: set[str]) -> None:
    answer = complete("bash", COMP_WORDS=words, COMP_CWORD=str(words.count(" ")))
    assert set(answer.split()) == expected


def test_zsh_and_fish_complete_commands_with_their_help() -> None:
    zsh = complete("zsh", _TYPER_COMPLETE_ARGS="sweeplaw la")
    fish = complete("fish", _TYPER_COMPLETE_ARGS="sweeplaw la", _TYPER_COMPLETE_FISH_ACTION="get-args")
    assert '"launch":"Run the missing trials' in zsh
    assert fish.startswith("launch\tRun the missing trials")


def test_importing_the_commands_loads_no_heavy_library() -> None:
    script = f"import sys, sweeplaw.orchestrator.cli; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
