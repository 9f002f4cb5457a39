"""Tasks evaluated with kept models: against sums over single tokens, a text that is learnt by heart, and lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from typer.testing import CliRunner

from sweeplaw.analysis.tables.query import Query, run_query
from sweeplaw.analysis.tables.tables import load
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.launch.evaluation import ensembles as launched
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.monitor.status import progress
from sweeplaw.orchestrator.plan.new_sweeps.derived_sweep import derive
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import ensembles
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.tasks.likelihood import continuations, log_likelihoods

pytestmark = pytest.mark.heavy
SWEEP = """
name = "rhyme"
keep = "final"
seeds = 2
[scientific]
width = [32]
[fixed]
corpus = "text:{text}"
context = 24
unique_tokens = 4096
epochs = 12
batch_sequences = 8
lr = 1e-2
validation_tokens = 2048
"""
WORDS = {"one": "sun", "two": "shoe", "three": "tree", "four": "door"}
QUESTIONS: list[dict[str, Any]] = [
    {"context": f"{number}:", "choices": [*WORDS.values()], "answer": i} for i, number in enumerate(WORDS)
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two models that know by heart which word follows which number."""
    folder = tmp_path_factory.mktemp("tasks")
    lines = [f"{number}: {word}\n" for number, word in WORDS.items()]
    order = torch.randint(4, (2000,), generator=torch.Generator().manual_seed(0)).tolist()
    for name in ("a.txt", "b.txt"):
        (folder / name).write_text("".join(lines[i] for i in order))
    (folder / "other.txt").write_text("".join(f"{line[0]}: {line}" for line in lines) * 300)
    (folder / "q.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)))
    made, store = plan(parse(SWEEP.format(text=folder / "[ab].txt"))), Store.open(folder / "s", create=True)
    assert launch(made, store, profile.load("inline")).states == {"completed": 2}
    return folder


def trials(place: Path) -> list[str]:
    rows = load(str(place / "s")).trials.filter(pl.col("workload") == "language_model").collect()
    return sorted(rows["trial_id"])


def test_log_likelihoods_are_the_sums_over_single_tokens(place: Path) -> None:
    store, names = Store.open(place / "s"), [MemberName.of(one) for one in trials(place)]
    pairs = [(one["context"], f" {choice}") for one in QUESTIONS for choice in one["choices"]]
    texts = continuations([*pairs, ("", "four"), ("one: sun\ntwo: shoe\nthree:", " tree\n")], "bytes", 24)
    with ensembles.opened_models(store.location, names) as models:
        for combine in ("logits", "probabilities"):
            found = log_likelihoods(models.logits, texts, [1, 2, 3], combine, models=2, vocabulary=models.vocabulary)
            for text, own in zip(texts, found.T.tolist(), strict=True):
                expected = [0.0] * 3
                for place_, token in enumerate(text.tokens[text.start :], text.start):
                    logits = models.logits(torch.tensor([text.tokens[:place_]]))[:, 0, -1].double()
                    mean = logits.mean(dim=0).log_softmax(-1)
                    if combine == "probabilities":
                        mean = logits.softmax(-1).mean(dim=0).log()
                    for i, one in enumerate((logits[0].log_softmax(-1), logits[1].log_softmax(-1), mean)):
                        expected[i] += float(one[token])
                assert own == pytest.approx(expected, abs=2e-4)


def test_what_was_learnt_by_heart_is_answered_and_the_own_corpus_has_the_recorded_loss(place: Path) -> None:
    store, ids = Store.open(place / "s"), trials(place)
    own = f"loss:text:{place}/[ab].txt"
    found = launched.score(store, ids, [f"choice:{place}/q.jsonl", own, f"loss:text:{place}/other.txt"])
    answers, losses = found.filter(pl.col("task").str.starts_with("choice")), found.filter(pl.col("task") == own)
    assert answers["accuracy"].to_list() == answers["accuracy_normalized"].to_list() == [1.0] * 3
    assert answers["questions"].to_list() == [4] * 3
    assert answers["subset"].to_list() == [*ids, ",".join(ids)]
    assert answers["members"].to_list() == [1, 1, 2]
    recorded = dict(load(str(place / "s")).trials.select("trial_id", "val_loss").collect().iter_rows())
    assert losses["val_loss"].to_list()[:2] == [recorded[one] for one in ids]
    assert losses["val_loss"][2] <= losses["member_loss"][2]
    other = found.filter(pl.col("task").str.ends_with("other.txt"))
    assert min(other["val_loss"]) > 1.5 * max(losses["val_loss"])


def test_a_score_is_computed_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, ids = Store.open(place / "s"), trials(place)
    first = launched.score(store, ids[:1], [f"choice:{place}/q.jsonl"])
    monkeypatch.setattr(launched, "_run", lambda *args: pytest.fail("evaluated again"))
    assert launched.score(store, ids[:1], [f"choice:{place}/q.jsonl"]).equals(first)


def test_lm_eval_gives_our_scores_on_the_same_questions(place: Path) -> None:
    pytest.importorskip("lm_eval")
    (place / "own.yaml").write_text(
        "task: rhymes\ndataset_path: json\n"
        f"dataset_kwargs:\n  data_files:\n    test: {place}/q.jsonl\n"
        "test_split: test\noutput_type: multiple_choice\ndoc_to_text: '{{context}}'\n"
        "doc_to_choice: '{{choices}}'\ndoc_to_target: '{{answer}}'\n"
        "metric_list:\n  - metric: acc\n  - metric: acc_norm\n"
    )
    store, ids = Store.open(place / "s"), trials(place)
    ours = launched.score(store, ids, [f"choice:{place}/q.jsonl"])
    theirs = launched.score(store, ids, [f"lm-eval:{place}/own.yaml"])
    assert set(theirs["state"]) == {"completed"}, theirs["message"].to_list()
    for column in ("accuracy", "accuracy_normalized", "questions"):
        assert theirs[column].to_list() == ours[column].to_list()
    assert theirs["score_name"].to_list() == ["acc"] * 3


def test_scores_on_tasks_are_no_runs_of_the_sweep(place: Path) -> None:
    store, ids = Store.open(place / "s"), trials(place)
    launched.score(store, ids, [f"choice:{place}/q.jsonl", f"loss:text:{place}/other.txt"])
    everything = load(store, states=None).trials.collect()
    scores = everything.filter(pl.col("workload") == "evaluation")
    assert scores.height >= 2 * len(ids)
    tables = load(store)
    assert tables.dropped["scores of kept models on tasks"] >= 2 * len(ids)
    runs = tables.trials.collect()
    assert "evaluation" not in runs["workload"]
    best = run_query(load(store, states=None), Query(sql="SELECT workload, width, val_loss FROM best")).frame
    mean = everything.filter(pl.col("workload") == "language_model")["val_loss"].mean()
    assert best.filter(pl.col("workload") == "language_model").rows() == [("language_model", 32, pytest.approx(mean))]
    assert "evaluation" not in best["workload"]
    assert progress(store).best_loss == runs["val_loss"].min()
    assert parse(derive(tables, {})).name == "rhyme-best"
    assert parse(derive(load(store, states=None), {}, seeds=2)).name == "rhyme-best"


def command(*words: object) -> Any:
    return CliRunner().invoke(app, ["evaluate", *map(str, words)], catch_exceptions=True)


def test_the_command_prints_a_row_for_each_model_and_task(place: Path) -> None:
    ids = trials(place)
    options = [*(word for one in ids for word in ("--trial", one)), "--task", f"choice:{place}/q.jsonl"]
    rows = json.loads(command(place / "s", *options, "--json").stdout)["evaluations"]
    assert [row["accuracy"] for row in rows] == [1.0] * 3
    assert "accuracy" in command(place / "s", *options).stdout


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("choice:nowhere.jsonl", "cannot be read"),
        ("choise:q.jsonl", "did you mean 'choice'"),
        ("loss:txt:a", "is not known"),
        ("lm-eval:nowhere.yaml", "no such file"),
    ],
)
def test_a_task_that_cannot_be_read_is_refused_before_anything_runs(place: Path, task: str, message: str) -> None:
    found = command(place / "s", "--trial", trials(place)[0], "--task", task)
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("loss:text:{}/empty.txt", "empty.txt' has 1 token, too few to hold some out"),
        ("loss:text:{}/short.txt", "short.txt' has 0 validation tokens in windows of context = 24"),
        ("loss:markov:states=300", "a vocabulary of 300, the models tokenizer = 'bytes' and a vocabulary of 256"),
        ("loss:markov:states=64", "has tokenizer = 'none' and a vocabulary of 64"),
    ],
)
def test_a_text_that_the_models_cannot_read_is_refused_and_nothing_recorded(
    place: Path, task: str, message: str
) -> None:
    (place / "empty.txt").write_text("")
    (place / "short.txt").write_text("s" * 99)
    before = load(str(place / "s"), states=None).trials.collect().height
    found = command(place / "s", *(word for one in trials(place) for word in ("--trial", one)), "--task",
                    task.format(place))  # fmt: skip
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)
    assert len(found.exception.faults) == 1
    assert load(str(place / "s"), states=None).trials.collect().height == before


@pytest.mark.parametrize("keep", ["", 'keep = "final"\n'])
def test_trials_of_a_sweep_that_names_tasks_have_their_scores_as_columns(
    place: Path, tmp_path: Path, keep: str
) -> None:
    tasks = f'workload = {{ kind = "language_model", tasks = {{ rhyme = "choice:{place}/q.jsonl", own = "loss:text:'
    text = SWEEP.format(text=place / "[ab].txt").replace('keep = "final"\n', keep).replace("seeds = 2", "members = 2")
    text = text.replace("members = 2", "").replace("[fixed]", "[fixed]\nmembers = 2")
    text = text.replace('name = "rhyme"\n', f'name = "rhyme"\n{tasks}{place}/[ab].txt" }} }}\n')
    made, store = plan(parse(text)), Store.open(tmp_path / "s", create=True)
    assert launch(made, store, profile.load("inline")).states == {"completed": 1}
    (row,) = load(str(tmp_path / "s")).trials.collect().to_dicts()
    assert (row["rhyme_accuracy"], row["rhyme_accuracy_normalized"], row["message"]) == (1.0, 1.0, None)
    assert row["own_loss"] == pytest.approx(row["val_loss"], abs=1e-6)
    assert row["rhyme_loss"] > 0
    plain = plan(parse(SWEEP.format(text=place / "[ab].txt").replace("[fixed]", "[fixed]\nmembers = 2")))
    assert set(made.ids) <= set(plain.ids), "tasks are no part of a trial's identity"


def test_faults_of_tasks_come_in_one_message(tmp_path: Path) -> None:
    text = 'name = "t"\nworkload = {{ kind = "language_model", tasks = {} }}\n[scientific]\nwidth = [16]\n'
    with pytest.raises(InputError) as caught:
        parse(text.format('{ A = "choice:q", a = "choise:q", val = "loss:stdlib", "b c" = 1 }'))
    assert len(caught.value.faults) == 4
    assert "the table has a column val_loss already" in str(caught.value)
    made = plan(parse(text.format('{ q = "choice:nowhere.jsonl" }'), folder=tmp_path))
    with pytest.raises(InputError, match=r"workload\.tasks\.q: .*nowhere\.jsonl' cannot be read"):
        launch(made, Store.open(tmp_path / "s", create=True), profile.load("inline"))


def test_the_loss_on_held_out_text_is_that_of_the_windows_behind_the_validation_loss(
    place: Path, tmp_path: Path
) -> None:
    text = SWEEP.format(text="").replace('corpus = "text:"', 'corpus = "markov:states=12,tokens=65536"')
    text = text.replace("seeds = 2", "seeds = 1").replace('keep = "final"\n', "")
    named = 'workload = { kind = "language_model", tasks = { other = "loss:held-out" } }'
    once = text.replace('name = "rhyme"\n', f'name = "rhyme"\n{named}\n')
    losses = []
    for number, one in enumerate((once, text.replace("validation_tokens = 2048", "validation_tokens = 4096"))):
        where = str(tmp_path / str(number))
        assert launch(plan(parse(one)), Store.open(where, create=True), profile.load("inline")).states == {
            "completed": 1
        }
        losses += load(where).trials.collect().to_dicts()
    assert losses[0]["other_loss"] != losses[0]["val_loss"]
    mean = (losses[0]["val_loss"] + losses[0]["other_loss"]) / 2
    assert mean == pytest.approx(losses[1]["val_loss"], abs=1e-5)
    short = once.replace("markov:states=12,tokens=65536", f"text:{place}/[ab].txt")
    short = short.replace("validation_tokens = 2048", "validation_tokens = 3000")
    below = short.replace("validation_tokens = 3000", "validation_tokens = 15")
    for wrong, fault in (
        (short, "validation_tokens = 3000 and as many again for loss:held-out: .* has [0-9]+ validation tokens"),
        (below, "validation_tokens = 15 is less than one window of context = 24"),
    ):
        with pytest.raises(InputError, match=fault):
            launch(plan(parse(wrong)), Store.open(tmp_path / "short", create=True), profile.load("inline"))
    with pytest.raises(InputError, match=r"'loss:held-out' \(accepted: in \[workload\] of a sweep, or loss:CORPUS"):
        launched.check_task("loss:held-out")


def test_text_that_a_task_needs_is_looked_for_before_a_launch(tmp_path: Path) -> None:
    text = 'name = "t"\nworkload = {{ kind = "language_model", tasks = {} }}\n[scientific]\nwidth = [16]\n'
    absent = f"{{ s = 'loss:synthetic:{'0' * 20}', t = 'loss:text:{tmp_path}/none.txt' }}"
    with pytest.raises(InputError) as caught:
        launch(plan(parse(text.format(absent))), Store.open(tmp_path / "s", create=True), profile.load("inline"))
    assert [fault.split(":")[0] for fault in caught.value.faults] == ["workload.tasks.s", "workload.tasks.t"]
