"""Multiple-choice questions: the file, and what is scored."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.tasks import names
from sweeplaw.trials.tasks.likelihood import Continuation, continuations
from sweeplaw.trials.tasks.multiple_choice import scores
from sweeplaw.trials.tasks.questions import Question, parse, read
from sweeplaw.trials.workloads.ensemble.tasks import Evaluation


def test_a_choice_follows_its_context_after_one_space() -> None:
    lines = [
        '{"context": "Q:", "choices": ["a", " b"], "answer": 1}',
        "",
        '{"context": "Q: ", "choices": ["a", "b"], "answer": 0, "source": "further keys are allowed"}',
        '{"context": "", "choices": ["a", "b"], "answer": 0}',
    ]
    assert [question.texts for question in parse(lines, "here")] == [(" a", " b"), ("a", "b"), ("a", "b")]


def test_all_faulty_lines_are_named_at_once() -> None:
    lines = [
        "{",
        "[1]",
        '{"context": 1, "choices": ["a", "b"], "answer": 0}',
        '{"context": "", "choices": ["a"], "answer": 0}',
        '{"context": "", "choices": ["a", "b"], "answer": 2}',
        '{"context": "", "choices": ["a", "b"], "answer": true}',
    ]
    with pytest.raises(InputError) as caught:
        parse(lines, "here")
    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        *(f"line {i}" for i in range(1, 6)),
        "1 more lines",
    ]
    with pytest.raises(InputError, match="no question"):
        parse(["  "], "here")


def test_scores_by_hand() -> None:
    asked = [Question("", (" xx", " yyyy"), 1), Question("", ("x", "yy", "zzz"), 0)]
    texts = [Continuation(tuple(range(size + 1)), 1) for size in (3, 5, 1, 2, 3)]
    found = scores(asked, texts, np.array([-4.0, -6.0, -2.0, -1.0, -9.0]))
    # By likelihood 0 and 1; by likelihood a character -2, -1.5 and -2, -.5, -3: 1 and 1.
    assert found == {
        "accuracy": 0.0,
        "accuracy_normalized": 0.5,
        "accuracy_error": 0.0,
        "val_loss": (6.0 + 2.0) / (5 + 1),
        "questions": 2,
    }
    half = scores(asked, texts, np.array([-4.0, -3.0, -2.0, -1.0, -9.0]))
    assert half["accuracy"] == 0.5
    assert half["accuracy_error"] == pytest.approx(math.sqrt(0.25 / 2))


def test_a_choice_of_white_space_counts_as_one_character() -> None:
    asked = [Question("x", ("  ", " a"), 0)]
    texts = [Continuation((0, 1), 1)] * 2
    assert scores(asked, texts, np.array([-1.0, -1.5]))["accuracy_normalized"] == 1.0
    assert scores(asked, texts, np.array([-1.5, -1.0]))["accuracy_normalized"] == 0.0


def test_a_text_begins_after_the_token_between_documents_and_is_cut_from_the_left() -> None:
    (whole,) = continuations([("ab", "cd")], "bytes", 8)
    assert (whole.tokens, whole.start) == ((0, *b"abcd"), 3)
    (cut,) = continuations([("ab", "cd")], "bytes", 3)
    assert (cut.tokens, cut.start) == (tuple(b"abcd"), 2)
    (first,) = continuations([("", "cd")], "bytes", 2)
    assert (first.tokens, first.start) == ((0, *b"cd"), 1)
    with pytest.raises(InputError, match="a continuation of 2 tokens"):
        continuations([("ab", "cd")], "bytes", 1)
    with pytest.raises(InputError, match="accepted: bytes"):
        continuations([("ab", "cd")], "none", 8)


def test_names_of_tasks(tmp_path) -> None:
    assert names.canonical("choice:q.jsonl", tmp_path) == f"choice:{tmp_path / 'q.jsonl'}"
    assert names.canonical("loss:text:a.txt", tmp_path) == f"loss:text:{tmp_path / 'a.txt'}"
    assert names.canonical("lm-eval:arc_easy", tmp_path) == "lm-eval:arc_easy"
    assert names.canonical("lm-eval:a/own.yaml", tmp_path) == f"lm-eval:{tmp_path}/a/own.yaml"
    for folder in (None, Path(""), Path()):
        assert names.canonical("choice:q.jsonl", folder) == f"choice:{Path.cwd() / 'q.jsonl'}"
    assert names.canonical("lm-eval:own.yaml", tmp_path) == f"lm-eval:{tmp_path / 'own.yaml'}"
    for text in ("choise:q.jsonl", "choice:", "accuracy"):
        with pytest.raises(InputError, match="is not known"):
            names.canonical(text)


def test_a_file_that_is_no_regular_one_is_never_opened(tmp_path) -> None:
    os.mkfifo(tmp_path / "q.jsonl")
    with pytest.raises(InputError, match="is no regular file"):
        read(tmp_path / "q.jsonl")


@pytest.mark.parametrize(("options", "folder"), [({}, "."), ({"folder": "/f"}, "/f"), ({"folder": Path("g")}, "g")])
def test_tasks_of_a_sweep_start_at_its_folder(options, folder) -> None:
    workload = Evaluation.of("", {"store": "s3://bucket/s", **options})
    task = workload.resolve({"subset": "x", "task": "choice:q.jsonl"})["task"]
    assert task == f"choice:{Path.cwd() / folder / 'q.jsonl'}"
    assert workload.resolve({"subset": "x", "task": None}) == {"subset": "x", "task": None}
