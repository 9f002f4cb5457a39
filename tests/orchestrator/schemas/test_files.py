"""The schemas of sweep files and profiles accept the shipped files, and refuse what the parsers refuse of them."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from sweeplaw.clusters.profile import profile, toml_file
from sweeplaw.orchestrator.plan import sweep
from sweeplaw.orchestrator.schemas import catalog
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT
from tests.references import blocks

pytestmark = pytest.mark.heavy  # half a second a test, or many of them

SWEEPS = [*ROOT.glob("orchestrator/sweeps/**/*.toml"), *ROOT.glob("examples/own*/sweep.toml")]
PROFILES = [*ROOT.glob("examples/clusters/*.toml")]
WRONG: tuple[Any, ...] = ("nonsense", -1, 0, 0.5, True, [], {}, ["nonsense"], {"nonsense": 1}, [[1]])
# What only the whole file says; and the types of knobs that the user's own code has.
BEYOND = re.compile(r"lists of one length|low <= high|a range without num|: 0 is outside \[|not defined|fits no node")
OWN = re.compile(r"no common type|is not a (whole|finite) number|is outside \[")
SEVERAL = """
name = "several"
workload = "surrogate"
log_to = ["tensorboard:runs", "wandb:team/project,mlflow:sqlite:///runs.db"]
where = ["tokens <= 40 * params", "params > 10"]
seeds = [3, 4]
stop = { failures = "3 in a row" }
scientific = { params = { linear = [1e6, 1e7], num = 3 } }
nuisance = { lr = { list = [0.1, 0.2], when = "params > 2e6" }, behaviour = ["normal", "failed"] }
fixed = { noise = 0 }
derived = { tokens = "20 * params" }
zip = [{ role = "nuisance", batch_sequences = [1, 2], weight_decay = [0.1, 0.2] }]
search = { kind = "halving", samples = 9, early_stopping = { checks = 2 } }
retry = { failed = 2 }
budget = { flops = 1e22 }
"""


def validator(name: str) -> jsonschema.Draft7Validator:
    schema = catalog.FILES[name]()
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


@pytest.fixture(scope="module")
def checks() -> dict[str, jsonschema.Draft7Validator]:
    return {name: validator(name) for name in catalog.FILES}


def refused(content: dict[str, Any], name: str, folder: Path) -> str:
    """Return what the parser has against a file of this content, empty for nothing."""
    text = "".join(f"{toml_file.key(key)} = {toml_file.text_of(value)}\n" for key, value in content.items())
    try:
        if name == "sweep":
            sweep.parse(text, folder=folder)
        else:
            profile.parse(toml_file.parse(text), name="x")
    except InputError as error:
        return str(error)
    return ""


def mutations(content: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield copies with an unknown key, without a key, and with a value of another kind, at every place."""
    for path in _places(content, ()):
        if isinstance(_at(content, path), dict):
            changed = copy.deepcopy(content)
            _at(changed, path)["nonsense_key"] = 1
            yield f"{path} with nonsense_key", changed
        if path:
            changed = copy.deepcopy(content)
            del _at(changed, path[:-1])[path[-1]]
            yield f"{path} left out", changed
            for value in WRONG:
                changed = copy.deepcopy(content)
                _at(changed, path[:-1])[path[-1]] = copy.deepcopy(value)
                yield f"{path} = {value!r}", changed


def _places(value: Any, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, part in inside:
        yield from _places(part, (*path, key))


def _at(content: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        content = content[key]
    return content


FILES = [*(("sweep", path) for path in SWEEPS), *(("profile", path) for path in PROFILES)]
files = pytest.mark.parametrize(("name", "path"), FILES, ids=lambda given: Path(given).parts[-1])


def test_there_are_sweeps_and_profiles() -> None:
    assert len(SWEEPS) >= 12
    assert len(PROFILES) >= 7


@files
def test_every_shipped_file_meets_its_schema_and_names_it(checks, name: str, path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not [error.message for error in checks[name].iter_errors(tomllib.loads(text))]
    (named,) = re.findall(r"^#:schema (\S+)$", text, flags=re.MULTILINE)
    assert (path.parent / named).resolve() == ROOT / "docs" / "schemas" / f"{name}.json"


@files
def test_the_schema_refuses_what_the_parser_refuses_and_nothing_else(checks, name: str, path: Path) -> None:
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    outcomes = _compared(checks[name], content, name, path.parent)
    assert outcomes["both refuse"] > 25
    assert outcomes["both accept"] >= 3


def test_every_kind_of_key_is_compared(checks) -> None:
    content = tomllib.loads(SEVERAL)
    assert not refused(content, "sweep", ROOT)
    assert _compared(checks["sweep"], content, "sweep", ROOT)["both refuse"] > 300


def _compared(check: jsonschema.Draft7Validator, content: dict[str, Any], name: str, folder: Path) -> dict[str, int]:
    """Return how often both refuse or accept a change, after checking that they agree about it."""
    found = {"both refuse": 0, "both accept": 0}
    for label, changed in mutations(content):
        fault, valid = refused(changed, name, folder), check.is_valid(changed)
        if fault and valid:
            own = "own_" in str(folder) and OWN.search(fault)
            assert own or BEYOND.search(fault), f"the schema accepts {label}: {fault}"
        elif not fault:
            # Where its models take a truth value for a number, the schema does not.
            assert valid or label.endswith("= True"), f"the schema refuses {label}"
        found["both refuse"] += bool(fault) and not valid
        found["both accept"] += not fault and valid
    return found


@pytest.mark.parametrize("document", ["README.md", "docs/reference.md"])
def test_the_sweep_files_of_the_documents_meet_the_schema(checks, document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    found = [tomllib.loads(block) for block in blocks(text, "toml") if block.startswith("name")]
    assert found
    for content in found:
        assert not [error.message for error in checks["sweep"].iter_errors(content)]


def test_an_unknown_schema_is_refused_with_the_names() -> None:
    with pytest.raises(
        InputError, match=r"'sweeps' is not known \(accepted: sweep, profile, plan, .*\); did you mean 'sweep'"
    ):
        catalog.text("sweeps")
