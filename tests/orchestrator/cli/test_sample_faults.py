"""`sweeplaw sample` and `evaluate` name every fault of a call at once, and a damaged text is sampled anew."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.cli.shared import exits, progress
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import DamagedDataError, InputError, gathered
from sweeplaw.trials.store_format import kept_weights, synthetic_corpora
from sweeplaw.trials.store_format.kept_weights import Kept
from tests.trials.kept.test_kept_weights import SWEEP, launched

pytestmark = pytest.mark.heavy  # half a second a test, or many of them

TEACHERS = SWEEP.replace("[scientific]", "seeds = 3\n[scientific]")


@pytest.fixture(scope="module")
def teachers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    folder = tmp_path_factory.mktemp("teachers") / "s"
    return folder, launched(TEACHERS, folder)[2]


@pytest.fixture
def damaged(teachers: tuple[Path, tuple[str, ...]]) -> Iterator[tuple[str, str]]:
    """Flip a bit of a tensor of one trial and cut the file of another, for the test. Return both ids."""
    folder, (first, second, _) = teachers
    paths = [folder / f"weights/{one}.safetensors" for one in (first, second)]
    whole = [path.read_bytes() for path in paths]
    paths[0].write_bytes(flipped(whole[0]))
    paths[1].write_bytes(whole[1][:100])
    yield first, second
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)


def flipped(content: bytes) -> bytes:
    return content[:-3] + bytes([content[-3] ^ 1]) + content[-2:]


def call(command: str, folder: Path, *words: str) -> Result:
    return CliRunner().invoke(app, [command, str(folder), *words])


def faults(command: str, folder: Path, *words: str) -> str:
    error = call(command, folder, *words).exception
    assert isinstance(error, InputError)
    return str(error)


def named(*trials: str) -> list[str]:
    return [word for one in trials for word in ("--trial", one)]


@pytest.mark.parametrize(
    "damage", [flipped, lambda content: content[:-40], lambda content: content[:50], lambda _: b""]
)
def test_a_damaged_text_is_sampled_anew_under_its_name(teachers, damage):
    folder, ids = teachers
    words = [*named(ids[2]), "--tokens", "640"]
    name = call("sample", folder, *words).stdout.strip()
    corpus_id = name.removeprefix("synthetic:").partition("?")[0]
    path = folder / f"corpora/{corpus_id}.safetensors"
    intact = synthetic_corpora.load(str(folder), corpus_id).tokens.copy()
    assert "nothing was sampled" in call("sample", folder, *words).stderr
    path.write_bytes(damage(path.read_bytes()))
    again = call("sample", folder, *words)
    assert again.stdout.strip() == name
    assert f"sampled anew: synthetic corpus {corpus_id} is damaged" in again.stderr
    assert (synthetic_corpora.load(str(folder), corpus_id).tokens == intact).all()
    assert json.loads(call("sample", folder, *words, "--json").stdout)["replaced"] is None


def test_a_text_of_a_later_version_is_not_replaced(teachers):
    folder, ids = teachers
    words = [*named(ids[2]), "--tokens", "320"]
    corpus_id = call("sample", folder, *words).stdout.strip().removeprefix("synthetic:").partition("?")[0]
    path = folder / f"corpora/{corpus_id}.safetensors"
    later = path.read_bytes().replace(b"sweeplaw synthetic corpus 1", b"sweeplaw synthetic corpus 2")
    path.write_bytes(later)
    assert "has the format 'sweeplaw synthetic corpus 2'" in faults("sample", folder, *words)
    assert path.read_bytes() == later


def test_every_option_that_cannot_be_is_named_with_what_is_accepted(teachers, monkeypatch):
    folder, ids = teachers
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    words = [*named(ids[2]), "--tokens", "1e15", "--batch", "9" * 23, "--device", "x'", "--threads", "1000000000"]
    words += ["--mix", "words", "--temperature", "nan", "--prompt-tokens", "0", "--seed", "-1"]
    found = faults("sample", folder, *words)
    for fault in (
        "8 faults",
        "tokens = 1000000000000000 need 2,125.0 TB of disk, where ",
        f"batch = {'9' * 23} (accepted: 1 to 256)",
        """device = "x'" (accepted: cpu, cuda, cuda:NUMBER)""",
        "threads = 1000000000 (accepted: 1 to 1024)",
        "mix = 'words'",
        "temperature = nan",
        "prompt_tokens = 0",
        "seed = -1",
    ):
        assert fault in found
    assert "sees no CUDA device (accepted: cpu)" in faults(
        "sample", folder, *named(ids[2]), "--tokens", "640", "--device", "cuda"
    )
    assert "threads = 0 (accepted: 1 to 1024)" in faults("evaluate", folder, *named(ids[2]), "--threads", "0")


def raising(error: InputError) -> None:
    raise error


@pytest.mark.parametrize("tokens", ["inf", "-inf", "nan", "1e308k", "1e17", "-5", "2 ** 60"])
def test_a_number_of_tokens_that_no_text_has_is_refused(teachers, tokens):
    folder, ids = teachers
    found = faults("sample", folder, *named(ids[2]), "--tokens", tokens, "--seed", "-1")
    assert f"tokens = {tokens!r} is " in found
    assert "below 9,007,199,254,740,992" in found
    assert "seed = -1" in found


def test_all_trials_and_tasks_that_cannot_be_read_are_named_at_once(teachers, damaged, tmp_path):
    folder, _ = teachers
    questions = tmp_path / "q.jsonl"
    questions.write_bytes(b'\n{"context": "\xff"}\n{"context": "", "choices": [""], "answer": 3}\n')
    trials = named("zz", "yy", *damaged)
    tasks = [f"choice:{questions}", "choice:nowhere.jsonl", "choise:q", f"loss:text:{tmp_path}/gone.txt"]
    both = ["has no trial 'zz'", "has no trial 'yy'", f"{damaged[0]} are damaged", f"{damaged[1]} cannot be read"]
    found = faults("evaluate", folder, *trials, *(word for task in tasks for word in ("--task", task)))
    for fault in (
        *both,
        f"{questions}: line 2: byte 14 is not UTF-8",
        f"{questions}: line 3: choices = [''] (accepted: a list of two or more texts, none of them empty); answer = 3",
        "nowhere.jsonl' cannot be read: No such file",
        "task = 'choise:q' is not known",
        f"corpus = 'text:{tmp_path}/gone.txt' is not on this machine",
    ):
        assert fault in found
    found = faults("sample", folder, *trials, "--tokens", "inf")
    assert all(fault in found for fault in (*both, "tokens = 'inf'"))


@pytest.mark.parametrize("command", ["sample", "evaluate"])
def test_damaged_weights_are_all_named_and_the_exit_code_is_that_of_damage(teachers, damaged, command, capsys):
    folder, _ = teachers
    for trials in (damaged, damaged[:1]):
        words = [*named(*trials), *(["--tokens", "640"] if command == "sample" else [])]
        rows = Store.open(folder).outcomes().height
        error = call(command, folder, *words).exception
        assert isinstance(error, DamagedDataError)
        assert len(error.faults) == len(trials)
        assert Store.open(folder).outcomes().height == rows

        assert exits.exit_code(functools.partial(raising, error), command) == 3
        assert damaged[0] in capsys.readouterr().err


def test_bad_input_beside_damage_is_bad_input():
    answers = {kind.__name__: functools.partial(raising, kind("x")) for kind in (InputError, DamagedDataError)}
    with pytest.raises(InputError) as caught:
        gathered(answers)
    assert type(caught.value) is InputError


def test_a_trial_without_weights_is_told_apart_from_one_that_never_was(teachers, monkeypatch):
    folder, ids = teachers
    store = Store.open(folder)
    wrong = ids[0][:8] + ("0" if ids[0][8] != "0" else "1") * 12
    text = fault_of(store, wrong)
    assert "no such trial has ended there; did you mean " in text
    assert "retry" not in text
    assert ids[0] in text
    assert f"has no trial {wrong!r}; did you mean {ids[0]}?" in faults(
        "sample", folder, *named(wrong), "--tokens", "640"
    )
    assert "did you mean" not in fault_of(store, "".join(chr(ord("0") + (int(digit, 16) + 1) % 10) for digit in ids[0]))
    monkeypatch.setattr("sweeplaw.trials.store_format.parts.trial_states.latest_states", lambda _: {wrong: "preempted"})
    assert "is not completed, but preempted: a launch of its sweep goes on with it" in fault_of(store, wrong)


def fault_of(store: Store, trial_id: str) -> str:
    with pytest.raises(InputError) as caught, kept_weights.opened(store.location, Kept(trial_id)):
        pass
    return str(caught.value)


def test_without_a_terminal_there_are_lines_of_progress(capsys, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    for lines in (True, False):
        with progress.progress_bar("sampling tokens", lines=lines) as update:
            update(1000, 4000)
        written = capsys.readouterr().err
        assert written.startswith("sampling tokens: 1k of 4k, ") == lines
        assert bool(written) == lines
