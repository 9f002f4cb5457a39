"""Trials that learn from others: synthetic text, teachers' distributions, weights to begin with."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from sweeplaw.trials.errors import DamagedDataError, InputError
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.sampling.corpora import SamplingOptions, SamplingRequest, sample_corpus
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format import kept_weights
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.ensemble import Ensemble
from sweeplaw.trials.workloads.language_model import LanguageModel
from tests.trials.training.preemption import ending_at

pytestmark = pytest.mark.heavy

MARKOV = "markov:spread=1.5,states=12,tokens=65536"
OTHER = "markov:seed=1,spread=1.5,states=12,tokens=65536"
PLAIN: dict[str, Any] = {
    "corpus": MARKOV, "context": 16, "unique_tokens": 1024, "width": 16, "depth": 1, "validation_tokens": 512,
    "epochs": 2, "lr": 1e-2, "evaluations": 1,
}  # fmt: skip


class Place:
    """A store with a teacher, an ensemble of two, and a synthetic corpus of each."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workload = LanguageModel.of("", {"store": str(folder)})
        self.teacher, self.pair = self.spec(), self.spec(members=2)
        self.losses = {spec.trial_id: self.run(spec).metrics["val_loss"] for spec in (self.teacher, self.pair)}
        self.text, self.texts = (
            sample_corpus(locate(str(folder)), SamplingRequest(spec.trial_id, 2048)).name
            for spec in (self.teacher, self.pair)
        )

    def spec(self, **values: Any) -> TrialSpec:
        values = self.workload.resolve({**PLAIN, **values})
        return TrialSpec.of(self.workload.name, self.workload.knobs, values)

    def run(self, *pack: TrialSpec, **context: Any) -> Outcome:
        place = Context("cpu", self.folder, weights=f"{self.folder}/weights")
        *_, outcome = self.workload.run(pack, replace(place, **context))
        assert isinstance(outcome, Outcome)
        return outcome

    def weights(self, spec: TrialSpec) -> list[dict[str, Tensor]]:
        with kept_weights.opened(locate(str(self.folder)), Kept(spec.trial_id)) as found:
            return [found.member(number) for number in range(found.members)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("store"))


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_student_of_weight_zero_is_the_plain_run_bit_for_bit(place):
    assert place.spec(synthetic=place.text, synthetic_weight=0).trial_id == place.teacher.trial_id
    assert place.spec(teachers=place.teacher.trial_id, teacher_weight=0).trial_id == place.teacher.trial_id
    mixed = TrialSpec(place.teacher.workload, {**place.teacher.knobs, "synthetic": place.text}, place.teacher.later)
    assert mixed.trial_id != place.teacher.trial_id  # a trial of its own, whose batches are mixed of nothing
    assert place.run(mixed).metrics["val_loss"] == place.losses[place.teacher.trial_id]
    assert same(place.weights(mixed)[0], place.weights(place.teacher)[0])


def test_a_mixture_trains_longer_on_the_same_real_text(place):
    student = place.spec(synthetic=place.texts, synthetic_weight=0.75)
    assert place.workload.cost(student).steps == 4 * place.workload.cost(place.teacher).steps
    outcome = place.run(student)
    assert outcome.state == "completed"
    assert outcome.last_step == place.workload.cost(student).steps
    assert outcome.metrics["val_loss"] != place.losses[place.teacher.trial_id]


def test_a_stopped_student_resumes_bit_for_bit(place, tmp_path, monkeypatch):
    student = place.spec(
        synthetic=place.text, synthetic_weight=0.5, members=2, teachers=place.pair.trial_id, teacher_weight=0.5,
        init_from=place.teacher.trial_id,
    )  # fmt: skip
    whole = place.run(student)
    weights = place.weights(student)
    own = {"checkpoints": str(tmp_path), "ending": ending_at(21, monkeypatch)}
    assert place.run(student, **own).state == "preempted"
    resumed = place.run(student, checkpoints=str(tmp_path))
    assert resumed.metrics["resumed_step"]
    assert resumed.metrics["val_loss"] == whole.metrics["val_loss"]
    assert all(map(same, place.weights(student), weights))


def test_a_trial_begins_from_the_weights_that_it_names(place):
    for source in (place.teacher, place.pair):
        still = place.spec(init_from=source.trial_id, members=source["members"], lr=0)
        assert place.run(still).metrics["val_loss"] == place.losses[source.trial_id]
        assert all(map(same, place.weights(still), place.weights(source)))
    one = place.spec(init_from=f"{place.pair.trial_id}:1", members=2, lr=0)
    place.run(one)
    assert all(same(member, place.weights(place.pair)[1]) for member in place.weights(one))


def test_training_goes_on_with_another_corpus_and_may_be_measured_on_the_first(place):
    moved = place.spec(init_from=place.teacher.trial_id, corpus=OTHER, lr=0)
    back = place.spec(init_from=place.teacher.trial_id, corpus=OTHER, validation_corpus=MARKOV, lr=0)
    assert place.run(moved).metrics["val_loss"] > place.losses[place.teacher.trial_id] + 0.3
    assert place.run(back).metrics["val_loss"] == place.losses[place.teacher.trial_id]
    tuned = place.spec(init_from=place.teacher.trial_id, corpus=OTHER)
    anew = place.spec(corpus=OTHER)
    assert place.run(tuned).metrics["val_loss"] != place.run(anew).metrics["val_loss"]


def test_models_measured_on_one_text_make_an_ensemble_whatever_they_were_trained_on(place):
    moved = place.spec(init_from=place.teacher.trial_id, corpus=OTHER, lr=0)
    back = place.spec(init_from=place.teacher.trial_id, corpus=OTHER, validation_corpus=MARKOV, lr=0)
    for spec in (moved, back):
        place.run(spec)
    ensemble = Ensemble(str(place.folder))
    texts = [f"{place.teacher.trial_id},{other.trial_id}" for other in (back, moved)]
    same, differing = (TrialSpec.of(ensemble.name, ensemble.knobs, {"subset": text}) for text in texts)
    *_, outcome = ensemble.run([same], Context("cpu", place.folder))
    assert isinstance(outcome, Outcome)
    assert outcome.metrics["member_loss"] == place.losses[place.teacher.trial_id]
    with pytest.raises(InputError, match="the same validation set"):
        ensemble.check([differing])


def test_a_student_without_real_text_is_measured_on_real_text(place):
    control = place.spec(corpus=place.text, validation_corpus=MARKOV, init_from=place.teacher.trial_id, lr=0)
    place.workload.check([control])
    assert place.run(control).metrics["val_loss"] == place.losses[place.teacher.trial_id]


def test_a_student_of_soft_labels_alone_comes_near_its_teacher(place):
    student = place.spec(teachers=place.teacher.trial_id, teacher_weight=1, seed=5, epochs=16)
    outcome = place.run(student)
    plain = place.run(place.spec(seed=5, epochs=16)).metrics["val_loss"]
    assert abs(outcome.metrics["val_loss"] - place.losses[place.teacher.trial_id]) < 0.05
    assert abs(plain - place.losses[place.teacher.trial_id]) > 0.1


def test_the_flops_of_teachers_are_theirs_and_those_of_sampling_and_labels(place):
    cost = place.workload.cost(place.teacher)
    labels = place.spec(teachers=place.pair.trial_id, teacher_weight=0.5)
    training, forward = 2 * cost.flops, 2 * cost.flops / 3
    assert place.run(labels).metrics["teacher_flops"] == pytest.approx(training + forward)
    sampled = place.run(place.spec(synthetic=place.text, synthetic_weight=0.5)).metrics["teacher_flops"]
    assert sampled == pytest.approx(cost.flops_per_token / 3 * 2048)
    assert "teacher_flops" not in place.run(place.teacher).metrics


def test_teachers_that_wrote_the_text_and_label_it_were_trained_once(place):
    cost = place.workload.cost(place.teacher)
    known = {"training_flops": cost.flops}
    request = SamplingRequest(place.teacher.trial_id, 2048, SamplingOptions(seed=1))
    text = sample_corpus(locate(str(place.folder)), request, known=known).name
    both = place.spec(synthetic=text, synthetic_weight=0.5, teachers=place.teacher.trial_id, teacher_weight=0.5)
    labels = 2 * cost.flops / 3  # the student reads twice the tokens of its teacher
    assert place.run(both).metrics["teacher_flops"] == pytest.approx(
        cost.flops + cost.flops_per_token / 3 * 2048 + labels
    )


def test_knobs_at_their_defaults_change_no_id(place):
    off = dict.fromkeys(("synthetic", "teachers", "init_from", "validation_corpus"), "")
    weights = {"synthetic_weight": 0, "teacher_weight": 0, "teacher_temperature": 4.0}
    assert place.spec(**off, **weights).trial_id == place.teacher.trial_id
    assert place.spec(validation_corpus=MARKOV).trial_id == place.teacher.trial_id


MISSING = "0" * 20
BAD: list[tuple[Callable[[Place], dict[str, Any]], str]] = [
    (lambda _: {"synthetic": f"synthetic:{MISSING}", "synthetic_weight": 0.5}, "has no synthetic corpus 00"),
    (lambda _: {"synthetic": MARKOV, "synthetic_weight": 0.5}, r"accepted: synthetic:ID"),
    (lambda at: {"synthetic": at.text, "synthetic_weight": 0.5, "context": 32}, "accepted: context up to 16"),
    (lambda at: {"synthetic": at.text, "synthetic_weight": 0.5, "corpus": "markov:states=9"}, "vocabulary of 12, and"),
    (lambda at: {"synthetic": at.text, "synthetic_weight": 0.5, "corpus": "stdlib"}, "sampled from models of tok"),
    (lambda at: {"validation_corpus": "markov:states=9"}, "vocabulary of 9, and"),
    (lambda _: {"teachers": MISSING, "teacher_weight": 0.5}, "keeps no weights of trial 00"),
    (lambda at: {"teachers": at.teacher.trial_id, "teacher_weight": 1, "context": 32}, "reads 16 tokens"),
    (lambda at: {"teachers": at.pair.trial_id, "teacher_weight": 1, "corpus": "markov:states=9"}, "vocabulary of 12"),
    (lambda _: {"init_from": MISSING}, "keeps no weights of trial 00"),
    (lambda _: {"init_from": "words"}, "accepted are TRIAL_ID"),
    (lambda at: {"init_from": at.pair.trial_id, "members": 3}, r"is 2 models for 3 members \(accepted: 1, 3\)"),
    (lambda at: {"init_from": at.pair.trial_id}, r"is 2 models for 1 member \(accepted: 1\)"),
    (lambda at: {"init_from": at.teacher.trial_id, "depth": 2}, "has depth = 1, the trial 2"),
    (lambda at: {"init_from": at.teacher.trial_id, "corpus": "markov:states=9"}, "vocabulary of 12, the trial"),
    (lambda at: {"init_from": at.teacher.trial_id, "rope_base": 1e5}, "has rope_base = 10000.0, the trial 100000.0"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "message"), BAD)
def test_what_is_missing_or_does_not_fit_is_said_before_anything_trains(place, values, message):
    with pytest.raises(InputError, match=message):
        place.workload.check([place.spec(**values(place))])


def test_faults_of_weights_are_faults_of_the_plan(place):
    with pytest.raises(InputError, match=r"synthetic_weight: 1 leaves no real text.*corpus = 'synthetic:ID'"):
        place.spec(synthetic=place.text, synthetic_weight=1)
    with pytest.raises(InputError, match=r"synthetic_weight: 0\.9999999 leaves .*accepted: up to 0\.999999;"):
        place.spec(synthetic=place.text, synthetic_weight=0.9999999)
    for values, message in (
        ({"synthetic": place.text}, "without synthetic_weight"),
        ({"synthetic_weight": 0.5}, r"synthetic_weight = 0.5 without synthetic \(accepted"),
        ({"teachers": place.teacher.trial_id}, "without teacher_weight"),
        ({"teacher_weight": 0.5}, "teacher_weight = 0.5 without teachers"),
    ):
        with pytest.raises(InputError, match=message):
            place.workload.cost(place.spec(**values))


@pytest.mark.parametrize(
    ("damaged", "kind"),
    [(("corpora", "weights"), DamagedDataError), (("corpora",), DamagedDataError), ((), InputError)],
)
def test_damage_is_told_as_damage_unless_other_things_are_wrong_too(place, tmp_path, damaged, kind):
    shutil.copytree(place.folder, tmp_path / "s")
    for path in (path for name in damaged for path in (tmp_path / "s" / name).glob("*.safetensors")):
        path.write_bytes(path.read_bytes()[:100])
    values = {"synthetic": place.text, "synthetic_weight": 0.5}
    values |= {"teachers": place.teacher.trial_id, "teacher_weight": 0.5, "context": 16 if damaged else 32}
    with pytest.raises(InputError) as caught:
        LanguageModel.of("", {"store": str(tmp_path / "s")}).check([place.spec(**values)])
    assert type(caught.value) is kind


@pytest.mark.parametrize("knob", ["synthetic", "teachers", "init_from", "corpus"])
def test_a_store_has_to_be_named(place, knob):
    known = {"synthetic": place.text, "corpus": place.text}
    weight = {"synthetic": "synthetic_weight", "teachers": "teacher_weight"}
    values = {knob: known.get(knob, place.teacher.trial_id), **({weight[knob]: 0.5} if knob in weight else {})}
    spec = place.spec(**values)
    with pytest.raises(InputError, match=f"{knob}: no store is named"):
        LanguageModel().check([spec])
    with pytest.raises(InputError, match=r"workload\.store = 3"):
        LanguageModel.of("", {"store": 3})


def test_a_store_is_found_from_the_folder_of_the_sweep():
    assert LanguageModel.of("", {"store": "a/b", "folder": "/sweeps"}).store == "/sweeps/a/b"
    assert LanguageModel.of("", {"store": "s3://bucket/a", "folder": "/sweeps"}).store == "s3://bucket/a"
