"""The schemas of answers: every command with ``--json`` has one, and what commands print meets it, key by key."""

from __future__ import annotations

import csv
import json
import math
import runpy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import polars as pl
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from sweeplaw.analysis.report.findings.event_laws import event_laws
from sweeplaw.analysis.tables.display import finite
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.schemas import answers, catalog
from sweeplaw.orchestrator.schemas.answers import notation
from tests.analysis.recipes.study.planted import SIZES
from tests.analysis.recipes.study.planted import runs as recipe_runs
from tests.analysis.report.panels.test_event_time import BY, LAUNCH, trials
from tests.golden.make import EXPECTED
from tests.paths import ROOT

SWEEP = """
name = "{name}"
workload = "surrogate"
seeds = 2
scientific = {{ params = {{ log = [1e7, 1e9], num = 4 }}, tokens = {{ log = [1e9, 1e11], num = 4 }} }}
nuisance = {{ lr = {{ log = [1e-3, 1e-1], num = 5 }}, batch_sequences = [512, 1024, 2048] }}
fixed = {{ noise = 0.003, weight_decay = {decay} }}
"""
FAILING = """
name = "failing"
workload = "surrogate"
scientific = { params = [10_000_000, 20_000_000] }
fixed = { tokens = 1_000_000_000, behaviour = "failed" }
stop = { failures = "never" }
"""
SEARCHED = """
name = "searched"
workload = "surrogate"
scientific = { params = [10_000_000, 20_000_000], tokens = [1_000_000_000, 2_000_000_000] }
nuisance = { lr = { log = [1e-3, 1e-1], num = 5 } }
search = { kind = "local" }
budget = { trials = 30 }
"""
PRINTING = """
name = "printing"
[workload]
kind = "command"
argv = ["{python}", "-c", "print('loss 2.5 at {width}')"]
pattern = "loss (?P<val_loss>[0-9.]+)"
[scientific]
width = [1]
"""
TRAINED = """
name = "trained"
workload = "language_model"
[scientific]
width = [16]
[fixed]
depth = 1
corpus = "markov:states=12,spread=1.5,tokens=65536"
context = 16
validation_tokens = 256
unique_tokens = 2048
"""
KEPT = TRAINED.replace("trained", "kept").replace("[scientific]", 'keep = "final"\nseeds = 2\n[scientific]', 1)
CORPUS = "markov:states=12,spread=1.5,tokens=65536"
# Commands in order, in a folder with these sweep files by their first letter; {p} is a trial of the sweep printing.
LINES = """
plan a.toml --no-measure --trials
plan p.toml --no-measure --trials
plan k.toml --no-measure --trials
plan s.toml --no-measure
plan a.toml --no-measure --simulate local --runs 2
launch a.toml --store a --cluster inline
launch b.toml --store b --cluster inline
launch f.toml --store f --cluster inline
launch s.toml --store s --cluster inline
launch p.toml --store p --cluster inline
launch k.toml --store k --cluster inline
status a
status f
status s
show a {a}
logs p {p}
retry f --state failed
columns a
compact f
fit a additive --compute 1e21 --bootstrap 20
fit a additive --holdout largest --by seed --compare skaling
fit a additive --approaches
fit a additive --simulate 20
predict a --at N=7e9,D=1.4e11 --compute 1e22
predict scored.csv --x N=N --x D=D --y loss --at N=1e9,D=1e11 --metric score
hyperlaw a --cell N,D --knob lr --resamples 20
suggest --store a --params 2e8 --tokens 2e10
suggest --law step-law --params 7B --tokens 1.4T
compare a b
rungs a --axis N
compare-laws a --cell N,D --knob lr --knob batch_tokens
batch-lr a --cell N,D
importance a --knob lr --knob batch_tokens
transfer a --workload N,D --knob lr
best-of a --cell N,D --knob lr --knob batch_tokens
time-law a --time tokens --censored none --let none=nullif(lr,lr) --x params --x lr --at params=1e9,lr=0.01
next a
forecast register a --at N=7e9,D=1.4e11 --who Ada
forecast score a
compare-searches a --knob lr --knob batch_tokens --searches random --seeds 1 --budget 0.2
diff a b
import runs.csv i --map N=N --map D=D --map val_loss=loss
exclude a --where lr>0.05 --reason high
evaluate k --best
evaluate k --best --task loss:{corpus}
sample k --best --tokens 1K
sample k --trial {k} --tokens 1K
recipes recipes.csv --draws 50 --retained student=joint --crossing joint,regularized,compute
report s --out searched
report a --out tuned --compare b --markdown --latex
report recipes.csv --y loss --x N=N --x D=D --out recipes
report f --out failed
report i --out imported
coordinate-check t.toml --widths 16,32 --steps 1
profile t.toml --steps 1
"""
# Checked where they run: in a limited child process, until SIGINT.
ELSEWHERE = {"query", "serve"}
# Places of answers that hold anything by their nature: what SQL returns, and what the constructor of a sampler takes.
OPEN = {"query[]{}", "plan.search.options{}"}
GOLDEN = {"fit": "fit_*", "hyperlaw": "hyperlaw_*", "suggest": "suggest_*"} | {
    name: name.replace("-", "_") for name in ("batch-lr", "compare-laws", "importance", "transfer")
}


def with_json(commands: Any, before: str = "") -> Iterator[str]:
    """Yield the commands that have an option --json."""
    for name, command in commands.items():
        whole = f"{before} {name}".strip()
        if any("--json" in parameter.opts for parameter in command.params):
            yield whole
        yield from with_json(getattr(command, "commands", {}), whole)


def closed(schema: Any) -> Any:
    """Return a schema whose records accept no key that it does not describe."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: closed(part) for name, part in schema.items()}
    ends = {"properties", "required"} <= schema.keys() and "additionalProperties" not in schema
    return found | ({"additionalProperties": False} if ends else {})


def undescribed(schema: Any, at: str) -> Iterator[str]:
    """Yield the places of a schema where anything is accepted."""
    if not {*schema} - {"description"}:
        yield at.replace(" ", "_")
    for name, part in schema.get("properties", {}).items():
        yield from undescribed(part, f"{at}.{name}")
    if "items" in schema or "array" in schema.get("type", []):
        yield from undescribed(schema.get("items", {}), f"{at}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from undescribed(schema["additionalProperties"], f"{at}{{}}")
    for part in schema.get("anyOf", []):
        yield from undescribed(part, at)


def without_meaning(schema: Any, at: str) -> Iterator[str]:
    """Yield the keys of a schema that say nothing of what they are."""
    for name, part in schema.get("properties", {}).items():
        if not part.get("description"):
            yield f"{at}.{name}"
        yield from without_meaning(part, f"{at}.{name}")
    for name in ("items", "additionalProperties"):
        if isinstance(schema.get(name), dict):
            yield from without_meaning(schema[name], at)
    for part in schema.get("anyOf", []):
        yield from without_meaning(part, at)


@dataclass(frozen=True)
class Ratio:
    ratio: float


@dataclass(frozen=True)
class OfEveryKind:
    count: int
    ratio: float
    text: str | None
    pair: tuple[int, str]
    inner: tuple[Ratio, ...]
    others: Mapping[str, bool] | None


def faults(command: str, answer: Any) -> list[str]:
    check = jsonschema.Draft7Validator(closed(answers.schema(command)))
    return [f"{command}: {list(error.path)}: {error.message[-300:]}" for error in check.iter_errors(answer)]


@pytest.mark.heavy
def test_every_command_with_json_has_a_schema_and_no_other() -> None:
    assert {*with_json(get_command(app).commands)} == {*answers.ANSWERS}  # type: ignore[attr-defined]
    for name in answers.ANSWERS:
        jsonschema.Draft7Validator.check_schema(json.loads(catalog.text(name)))


def test_answers_hold_anything_only_where_it_is_their_nature() -> None:
    assert {place for command, schema in answers.ANSWERS.items() for place in undescribed(schema, command)} == OPEN


def test_every_key_of_an_answer_has_a_meaning() -> None:
    assert [place for command, schema in answers.ANSWERS.items() for place in without_meaning(schema, command)] == []


def test_a_value_that_is_never_null_is_described_so() -> None:
    """Null where the type of a field says so, and for a number, which may be NaN; of a tuple every kind."""
    found = notation.of_type(OfEveryKind, {"inner.ratio": "a share"})
    assert found["properties"] == {
        "count": {"type": "integer"},
        "ratio": {"type": ["number", "null"]},
        "text": {"type": ["string", "null"]},
        "pair": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "string"}]}},
        "inner": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"ratio": {"description": "a share", "type": ["number", "null"]}},
                "required": ["ratio"],
            },
        },
        "others": {"type": ["object", "null"], "additionalProperties": {"type": "boolean"}},
    }


def test_the_page_of_the_answers_is_up_to_date() -> None:
    made = runpy.run_path(str(ROOT / "docs" / "json_answers.py"))
    assert (ROOT / "docs" / "json.md").read_text(encoding="utf-8") == made["page"](), "run: python docs/json_answers.py"


@pytest.mark.parametrize(("launches", "end"), [([LAUNCH], 500.0), ([LAUNCH], 1.0), ([], 500.0)])
def test_the_laws_of_times_in_a_report_meet_their_schema(launches: list[dict[str, object]], end: float) -> None:
    """With a law, with no event, and with no input."""
    events = answers.ANSWERS["report"]["properties"]["events"]["items"]
    found = [one.to_dict() for one in event_laws(trials(end=end), BY, launches)]
    assert found
    check = jsonschema.Draft7Validator(closed(events))
    assert [error.message for one in found for error in check.iter_errors(finite(one))] == []


@pytest.mark.parametrize("command", GOLDEN)
def test_the_golden_answers_meet_their_schemas(command: str) -> None:
    files = [*(EXPECTED / "answers").glob(f"{GOLDEN[command]}.json")]
    assert files
    for file in files:
        assert not faults(command, json.loads(file.read_text(encoding="utf-8")))


def test_a_key_that_is_missing_unknown_or_of_another_kind_is_a_fault() -> None:
    answer = json.loads((EXPECTED / "answers" / "suggest_law.json").read_text(encoding="utf-8"))
    assert faults("suggest", {name: value for name, value in answer.items() if name != "settings"})
    assert faults("suggest", {**answer, "nonsense": 1})
    assert faults("suggest", {**answer, "params": "7B"})


def planted(folder: Path) -> None:
    """Write tables of foreign runs: with a row that is none, with a score that the loss gives, and of recipes."""
    rows = [[n, d, 2 + n**-0.3 + d**-0.3] for n in (1e7, 1e8) for d in (1e9, 1e10)]
    with open(folder / "runs.csv", "w", newline="") as file:
        csv.writer(file).writerows([["N", "D", "loss"], *rows, [1e7, "x", 1]])
    with open(folder / "scored.csv", "w", newline="") as file:
        losses = [(n, d, 1.7 + 400 * n**-0.34 + 400 * d**-0.28) for n in SIZES for d in (1e9, 4e9, 16e9, 64e9)]
        scores = [[*one, 1 / (1 + math.exp(2 * (one[2] - 3.2)))] for one in losses]
        csv.writer(file).writerows([["N", "D", "loss", "score"], *scores])
    student = pl.DataFrame({"recipe": ["student"], "N": [3e8], "U": [2e8], "K": [1], "loss": [3.4], "seed": [0]})
    pl.concat([recipe_runs(0.0005, 2), student], how="vertical_relaxed").with_columns(
        D=pl.col("U"), flops=6 * pl.col("N") * pl.col("U")
    ).write_csv(folder / "recipes.csv")


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute on idle cores
def test_what_every_command_prints_meets_its_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = {name: SWEEP.format(name=name, decay=decay) for name, decay in (("a", 0.1), ("b", 0.3))}
    for name, text in {**files, "f": FAILING, "s": SEARCHED, "p": PRINTING, "t": TRAINED, "k": KEPT}.items():
        Path(f"{name}.toml").write_text(text, encoding="utf-8")
    planted(tmp_path)
    seen: set[str] = set()
    trials = {"corpus": CORPUS}
    for line in LINES.strip().splitlines():
        words = line.format_map(trials).split()
        done = CliRunner().invoke(app, [*words, "--json"])
        assert done.stdout.startswith(("{", "[")), f"{line}: {done.output} {done.exception}"
        answer = json.loads(done.stdout)
        command = " ".join(words[:2]) if words[0] == "forecast" else words[0]
        assert not faults(command, answer), line
        seen.add(command)
        if command == "report":  # the file has the same values as the answer
            written = json.loads(Path(answer["json"]).read_text(encoding="utf-8"))
            assert {**answer, **written} == answer
        if "--trials" in words:
            trials[words[1][0]] = answer["listing"][0]["trial_id"]
        assert command != "logs" or "loss 2.5 at 1" in answer[0]["output"]
    assert seen == {*answers.ANSWERS} - ELSEWHERE
