"""Documentation that cannot lie: every example of a help text runs, every file the README names is there."""

import re
import shlex
import shutil
import subprocess
import sys

import pytest
from typer.main import get_command

from sweeplaw.orchestrator.cli import app
from tests.paths import ROOT

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
# What an example needs that no test has; that these commands exist and parse is still checked.
NEEDS_MORE = {"launch": "a private Ray, run by the launch tests", "cluster": "an object store or a cluster"}


def examples(name):
    text = COMMANDS[name].help or ""
    return re.findall(r"Example: (sweeplaw .+)", text)


def sweeplaw(folder, line):
    command = [sys.executable, "-m", "sweeplaw", *shlex.split(line)[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which the examples' files lie: two finished stores, a table of somebody's runs."""
    here = tmp_path_factory.mktemp("docs")
    for name in ("orchestrator", "examples"):
        (here / name).symlink_to(ROOT / name)
    done = sweeplaw(
        here, "sweeplaw launch orchestrator/sweeps/surrogate.toml --store results/surrogate --cluster inline"
    )
    assert done.returncode == 0, done.stderr
    for name in ("demo", "again"):
        shutil.copytree(here / "results/surrogate", here / "results" / name)
    columns = "N / 1e6 AS params_m, D AS tokens, val_loss AS final_loss, val_loss AS loss, lr, batch_tokens"
    columns += ", CAST(batch_tokens / 2048 AS DOUBLE) AS bs, 6.0 * N * D AS flop, N, D, params"
    done = sweeplaw(here, f'sweeplaw query results/surrogate "SELECT {columns} FROM trials" --out runs.csv')
    assert done.returncode == 0, done.stderr
    return here


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_help_text_ends_with_an_example(name):
    if not getattr(COMMANDS[name], "commands", None):
        assert examples(name), name
        assert (COMMANDS[name].help or "").rstrip().splitlines()[-1].startswith("Example: sweeplaw")


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(NEEDS_MORE)))
def test_the_examples_of_help_texts_run(folder, name):
    for line in examples(name):
        done = sweeplaw(folder, line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "Traceback" not in done.stderr


def test_the_tree_in_the_readme_is_fresh():
    done = subprocess.run([sys.executable, "docs/tree.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "run: python docs/tree.py"


def test_the_readme_names_commands_that_exist():
    text = (ROOT / "README.md").read_text()
    named = re.findall(r"(?:^ {4}|`)sweeplaw ([a-z][a-z-]+)[ `]", text, flags=re.M)
    assert len(named) > 8
    assert not sorted(set(named) - set(COMMANDS))


def test_links_of_the_documents_lead_somewhere():
    for document in ROOT.glob("*.md"):
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (ROOT / target).exists(), f"{document.name}: {target}"
