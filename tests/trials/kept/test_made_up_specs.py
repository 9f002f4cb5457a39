"""Specs that somebody made up, in files of kept weights: one message names what no language model has."""

from __future__ import annotations

import json
import math
import os
from typing import Any

import pytest

from sweeplaw.trials.corpus import names
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import huggingface
from sweeplaw.trials.kept.teachers import describe
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.workloads.ensemble.specs import spec_of
from tests.trials.kept.test_kept_weights import SWEEP, forged, launched

GONE = object()  # in place of a value: there is none
READ = ("depth", "width", "heads", "ffn", "context", "unique_tokens", "corpus", "tokenizer", "rope_base", "precision")
WRONG = (GONE, None, [1], -1, "x" * 5, math.nan, math.inf, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A store, a trial whose weights it keeps, its spec, and its tensors by their names in the file."""
    store, _, (trial_id,) = launched(SWEEP, tmp_path_factory.mktemp("made up") / "s")
    with kept_weights.opened(store.location, kept_weights.Kept(trial_id)) as weights:
        tensors = {f"0.{name}": tensor for name, tensor in weights.member(0).items()}
        return store, trial_id, json.loads(weights.spec), tensors


def changed(spec: dict[str, Any], knob: str, value: object) -> str:
    knobs = {name: old for name, old in spec["knobs"].items() if name != knob}
    return json.dumps({**spec, "knobs": knobs if value is GONE else {**knobs, knob: value}})


@pytest.mark.parametrize("knob", READ)
def test_a_knob_that_no_model_has_is_named_by_all_that_read_weights(trained, tmp_path, knob):
    store, trial_id, spec, tensors = trained
    for value in WRONG:
        if isinstance(value, str) and isinstance(spec["knobs"][knob], str) and knob != "precision":
            continue
        kept = forged(store, trial_id, tensors, spec=changed(spec, knob, value))
        for read in (lambda kept: spec_of(store.location.uri, kept), lambda kept: describe(store.location, str(kept))):
            with pytest.raises(InputError, match=rf"spec of no model: {knob}"):
                read(kept)
        with (
            pytest.raises(InputError, match=rf"spec of no model: {knob}"),
            kept_weights.opened(store.location, kept) as weights,
        ):
            huggingface.export(weights, 0, tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("knobs", [None, 3, "ab", [["depth", 1]], [1]])
def test_knobs_that_are_none_are_refused(trained, knobs):
    store, trial_id, spec, tensors = trained
    kept = forged(store, trial_id, tensors, spec=json.dumps({**spec, "knobs": knobs}))
    with pytest.raises(InputError, match="spec of no model"):
        spec_of(store.location.uri, kept)


@pytest.mark.parametrize(("knob", "value"), [("validation_tokens", 0), ("epochs", "x"), ("lr", GONE), ("members", -1)])
def test_a_knob_of_the_training_is_checked_where_the_cost_of_it_is_read(trained, knob, value):
    store, trial_id, spec, tensors = trained
    kept = forged(store, trial_id, tensors, spec=changed(spec, knob, value))
    with pytest.raises(InputError, match=rf"spec of no model: {knob}"):
        spec_of(store.location.uri, kept)


def test_heads_that_do_not_divide_the_width_are_refused(trained, tmp_path):
    store, trial_id, spec, tensors = trained
    kept = forged(store, trial_id, tensors, spec=changed(spec, "heads", 3))
    with (
        pytest.raises(InputError, match="heads = 3, of which width = 16 is no even multiple"),
        kept_weights.opened(store.location, kept) as weights,
    ):
        huggingface.export(weights, 0, tmp_path / "out")


@pytest.mark.timeout(20)
def test_a_tokenizer_that_is_no_regular_file_is_never_opened(tmp_path):
    os.mkfifo(tmp_path / "fifo.json")
    for path, words in ((tmp_path / "fifo.json", "no regular file"), (tmp_path / "none.json", "does not exist")):
        with pytest.raises(InputError, match=words):
            names.vocabulary("stdlib:3.11.7", str(path))
