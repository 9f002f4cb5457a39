"""Documentation that cannot lie: every example runs, and every path, name, command and link leads somewhere."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import sweeplaw as sl
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.search import registry
from tests import references
from tests.paths import ROOT

pytestmark = pytest.mark.process

COMMANDS = get_command(app).commands  # type: ignore[attr-defined]
# Examples that need more than a test has. That these commands exist and take these options is still checked.
NEEDS_MORE = {
    "launch": "a private Ray, run by the launch tests",
    "cluster": "an object store or a cluster",
    "evaluate": "kept weights, run by the tests of ensembles",
    "export-checkpoint": "kept weights, run by the tests of kept weights",
    "refine-schedule": "a trained language model, run by the tests of its command",
    "sample": "kept weights, run by the tests of synthetic corpora",
    "time-law": "trials that grok, run by the tests of its command",
    "recipes": "stores of several recipes, run by the tests of its command",
}
ENDLESS = {"serve", "watch"}  # until they are interrupted
README = (ROOT / "README.md").read_text(encoding="utf-8")
LONGEST_README = 120  # lines: one sitting

documents = pytest.mark.parametrize("document", references.DOCUMENTS, ids=lambda path: path.name)


def examples(name: str) -> list[str]:
    """Return the examples of a command's help text."""
    return re.findall(r"Example: (sweeplaw .+)", COMMANDS[name].help or "")


def sweeplaw(folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sweeplaw", *shlex.split(line)[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files of the examples: finished stores and a table of somebody's runs."""
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
def test_every_help_text_ends_with_an_example(name: str) -> None:
    if not getattr(COMMANDS[name], "commands", None):
        assert examples(name), name
        assert (COMMANDS[name].help or "").rstrip().splitlines()[-1].startswith("Example: sweeplaw")


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(NEEDS_MORE) - ENDLESS))
def test_the_examples_of_help_texts_run(folder: Path, name: str) -> None:
    for line in examples(name):
        done = sweeplaw(folder, line)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(ENDLESS))
def test_a_command_that_goes_on_until_it_is_interrupted_shows_something_and_ends_cleanly(
    folder: Path, name: str
) -> None:
    for line in examples(name):
        command = [sys.executable, "-m", "sweeplaw", *shlex.split(line)[1:]]
        with subprocess.Popen(
            command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline().strip(), line
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, 130), f"{line}\n{errors}"
        assert "Traceback" not in errors


@pytest.mark.slow
def test_the_notebook_cell_of_the_readme_runs(folder: Path) -> None:
    (cell,) = references.blocks(README, "python")
    done = subprocess.run([sys.executable, "-c", cell], cwd=folder, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("verified"), done.stdout


def test_the_sweep_file_of_the_readme_is_a_sweep_with_the_axes_it_names(tmp_path: Path) -> None:
    text, search = references.blocks(README, "toml")
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    sweep = sl.read_sweep(tmp_path / "mine.toml")
    assert sweep.names("scientific") == ("params_non_embedding", "unique_tokens")
    assert sl.plan(sweep).trials == 7 * 2 * 3 * 3 * 3 * 2
    (tmp_path / "searched.toml").write_text(f"{text}\n{search}", encoding="utf-8")
    registry.check(sl.read_sweep(tmp_path / "searched.toml"))
    for kind, options in re.findall(r'^# kind = "(\w+)"  +(.+?)   ', search, re.MULTILINE):
        searched = re.sub('kind = "law".*', f'kind = "{kind}"\n{options}', search, count=1)
        registry.check(parse(f"{text}\n{searched}"))


def test_the_readme_can_be_read_in_one_sitting() -> None:
    assert len(README.splitlines()) <= LONGEST_README


def test_the_tree_of_files_is_up_to_date() -> None:
    done = subprocess.run([sys.executable, "docs/tree.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "run: python docs/tree.py"


def test_the_readme_shows_every_folder_once() -> None:
    (tree,) = references.blocks(README, "text")
    for package in ("orchestrator", "analysis", "clusters", "trials"):
        section = re.search(rf"^{package}/.*\n(?: .*\n)*", tree, flags=re.MULTILINE)
        assert section, package
        inside = [
            path for path in (ROOT / package).iterdir() if path.is_dir() and not path.name.startswith(("__", "."))
        ]
        assert sorted(re.findall(r"(\w+)/", section[0])) == sorted([package, *(path.name for path in inside)])


@documents
def test_paths_and_names_of_the_documents_exist(document: Path) -> None:
    assert not list(references.faults(document.read_text(encoding="utf-8")))


def test_the_architecture_names_classes_that_exist() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = {span for span in references.spans(text) if re.fullmatch(r"[A-Z][a-z]+[A-Za-z]*", span)}
    assert len(named) > 15
    assert not {name for name in named if not references.is_class(name)}


def test_the_architecture_draws_the_layers_that_are_checked() -> None:
    text = references.blocks((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"), "text")[0]
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    for package in ("orchestrator", "analysis", "clusters", "trials"):
        (layers,) = (one["layers"] for one in contracts if one["name"] == f"Layers of {package}")
        assert " > ".join(layers) in _drawn(text, package), package


def _drawn(picture: str, package: str) -> str:
    """Return what stands beside a package in the picture of the folders, in one line."""
    right = re.sub(r"(?m)^.*│", "", picture)
    shown = right if f"{package}/" in right else re.sub("│.*", "", picture)
    return " ".join(re.sub("[│├┐┘─]", " ", shown[shown.index(f"{package}/") :]).split())


@documents
def test_commands_of_the_documents_exist_and_take_their_options(document: Path) -> None:
    for words in references.commands(document.read_text(encoding="utf-8")):
        command: Any = COMMANDS.get(words[1])
        if words[1] == "COMMAND" or words[1].startswith("-"):
            continue
        assert command, " ".join(words)
        subcommands = getattr(command, "commands", {})
        if subcommands and words[2:] and words[2] != "KIND":
            command = subcommands[words[2]]
        accepted = {option for item in [command, *subcommands.values()] for option in _options(item)}
        assert {word for word in words if word.startswith("--")} <= {*accepted, "--help"}, " ".join(words)


def _options(command: Any) -> list[str]:
    return [option for parameter in command.params for option in parameter.opts]


def test_the_documents_show_the_commands_people_use() -> None:
    shown = {words[1] for words in references.commands(README)}
    assert shown >= {"plan", "launch", "status", "query", "report"}
    usage = (ROOT / "docs" / "usage.md").read_text(encoding="utf-8")
    assert shown | {words[1] for words in references.commands(usage)} >= set(COMMANDS) - {"cluster"}


@documents
def test_links_of_the_documents_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = document.parent / path if path else document
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file.read_text(encoding="utf-8")), target


@documents
def test_a_paragraph_is_not_cut_in_two_by_another(document: Path) -> None:
    blocks = re.sub(r"(?ms)^ *```.*?^ *```", "```", document.read_text(encoding="utf-8")).split("\n\n")
    for before, block in itertools.pairwise(block.strip() for block in blocks):
        assert not re.match("[a-z]", block) or before.startswith("#") or before.endswith(("```", "|", ":")), block[:80]


def _anchors(text: str) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "text",
    [
        "`orchestrator/plan/sweep.py`, `trials/store_format/` and `README.md`",
        "`sweeplaw.analysis.fit`, `sl.read_sweep`, `orchestrator.plan.sweep.read`, `trials.spec.Knob.since`",
        "`Knob.since`, `TrialSpec.trial_id`, `Fit.profiles`",
        "`python docs/tree.py`, `make test`, `make install CONSTRAINTS=`, `import_.py`",
        "`claims/<launch>.json`, `merges/`, `STORE/rejected`, `results/demo/report.html`, `/data/mine.bin`",
        "`ray://host:10001`, `127.0.0.1:9100`, `N / D`, `2/8`, `runs.csv`, `time.sleep(0)`",
        "```bash\npython benchmarks/store/relaunch.py\n```\n",
    ],
)
def test_what_exists_or_is_recognisably_no_reference_is_accepted(text: str) -> None:
    assert not list(references.faults(text))


@pytest.mark.parametrize(
    "text",
    [
        "`orchestrator/plan/sweeps.py`",
        "`trials/no_such_folder/`",
        "`no_such_module.py`",
        "`NO_SUCH.md`",
        "`python docs/no_such.py --check`",
        "`sweeplaw.analysis.fitt`",
        "`orchestrator.plan.sweep.reads`",
        "`trials.spec.Knob.sinse`",
        "`Knob.sinse`",
        "`orchestratr.plan`",
        "`make tests`",
        "```bash\npython benchmarks/store/no_such.py\n```\n",
    ],
)
def test_what_does_not_exist_is_a_fault(text: str) -> None:
    assert len(list(references.faults(text))) == 1
