"""The workload ``ensemble``: evaluate an ensemble of language models whose weights a store keeps.

A trial is one subset of models and the way they are combined. Trials that run together share the models' predictions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError, gathered
from sweeplaw.trials.kept import members
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.tasks.names import LOSS
from sweeplaw.trials.training.evaluation.subsets import COMBINATIONS
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.ensemble.specs import agreed, cost, specs_of, training_flops, validation
from sweeplaw.trials.workloads.registry import SWEEP_OPTIONS

KNOBS = (
    Knob("subset", "str", None, "", "the models: TRIAL_ID[:MEMBER][@STEP], with commas between them", member=True),
    Knob("combine", "str", "logits", "", "averaged before or after the softmax", member=True, choices=COMBINATIONS),
)
METRICS = {
    "members": ("models", "K: models of the ensemble"),
    "member_loss": ("nats/token", "validation loss of one model, mean over the ensemble"),
}


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Ensembles of the models whose weights are kept in ``store``, a path or URI.

    Rows have the knobs in which the members agree, so that they can be grouped and fitted as those of single models.
    """

    store: str
    name: str = "ensemble"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = True
    resumes: bool = False
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Ensemble:
        """Return the workload. A relative ``store`` starts at the folder of the sweep. Raise InputError."""
        return cls(cls._store(rest, options, "ensemble"))

    @staticmethod
    def _store(rest: str, options: Mapping[str, Any], kind: str) -> str:
        """Return the path or URI of the store in the options of a workload of this kind. Raise InputError."""
        faults = [
            f"workload.{name} is no option of {kind} (accepted: store)"
            for name in options
            if name not in (*SWEEP_OPTIONS, "store")
        ]
        store = options.get("store")
        if rest:
            faults.append(f"workload = '{kind}:{rest}' is not known (accepted: '{kind}')")
        if not isinstance(store, str) or not store:
            faults.append("workload.store: missing (accepted: the path or URI of the store that keeps the weights)")
        if faults:
            raise InputError(faults)
        return str(store) if "://" in str(store) else str(Path(options.get("folder") or ".", str(store)))

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return METRICS

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        return {}

    def cost(self, spec: TrialSpec) -> Cost:
        """Return what the members agree in; nothing is known of one that is not kept."""
        try:
            return cost(specs_of(self.store, members.parse(spec["subset"])))
        except InputError:
            return Cost()

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Check that the models are kept and have one validation set. Raise InputError with all faults."""
        texts = {str(spec["subset"]): None for spec in specs}
        gathered({text: partial(_specs_of_subset, self.store, text) for text in texts})

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        """Evaluate the pack: the trials of one validation set together."""
        started = dt.datetime.now(dt.UTC)
        waiting: dict[tuple[Any, ...], list[TrialSpec]] = {}
        for spec in pack:
            try:
                (first, *_) = specs_of(self.store, members.parse(spec["subset"]))
            except InputError as error:
                yield _outcome(spec, "failed", str(error), started, {})
                continue
            shared = tuple(spec[knob.name] for knob in self.knobs if knob.name != "subset")
            waiting.setdefault((tuple(validation(first).values()), shared), []).append(spec)
        for (held_out, _), specs in waiting.items():
            if context.ending():
                yield from (_outcome(spec, "preempted", NOT_BEGUN, started, {}) for spec in specs)
                continue
            try:
                for spec, metrics in self._evaluated(held_out, specs, context):
                    yield _outcome(spec, "completed", None, started, metrics)
            except InputError as error:
                yield from (_outcome(spec, "failed", str(error), started, {}) for spec in specs)

    def _evaluated(
        self, validation_set: Sequence[Any], specs: Sequence[TrialSpec], context: Context
    ) -> list[tuple[TrialSpec, dict[str, Value | None]]]:
        """Return the metrics of each trial; these agree in every knob but the subset. Raise InputError."""
        import torch  # which a plan does not need

        subsets = [members.parse(spec["subset"]) for spec in specs]
        names = list(dict.fromkeys(name for subset in subsets for name in subset))
        masks = [sum(1 << names.index(name) for name in subset) for subset in subsets]
        before = torch.get_num_threads()
        torch.set_num_threads(context.threads)
        try:
            wanted = [*(1 << i for i in range(len(names))), *masks]
            scores = self._scores(specs[0], validation_set, names, wanted, context.device)
        finally:
            torch.set_num_threads(before)
        alone = {name: own.get("val_loss") for name, own in zip(names, scores, strict=False)}
        own = zip(specs, subsets, scores[len(names) :], strict=True)
        return [(spec, self._metrics(subset, found, [alone[name] for name in subset])) for spec, subset, found in own]

    def _scores(
        self,
        spec: TrialSpec,
        validation_set: Sequence[Any],
        names: Sequence[MemberName],
        masks: Sequence[int],
        device: str,
    ) -> list[dict[str, Any]]:
        """Return what is measured of each subset of the models, a bit mask; ``spec`` is a trial of them."""
        from sweeplaw.trials.tasks.evaluation import evaluate

        corpus, tokenizer, window, tokens = validation_set
        return evaluate(
            self._task(spec, corpus),
            locate(self.store),
            names,
            masks,
            tokenizer=tokenizer,
            context=window,
            tokens=tokens,
            combine=spec["combine"],
            device=device,
        )

    def _task(self, spec: TrialSpec, corpus: str) -> str:
        """Return the task of a trial of models with this validation corpus."""
        return f"{LOSS}:{corpus}"

    def _metrics(
        self, subset: Sequence[MemberName], found: Mapping[str, Any], alone: Sequence[float | None]
    ) -> dict[str, Value | None]:
        specs = specs_of(self.store, subset)
        losses = [loss for loss in alone if loss is not None]
        return {
            **agreed(specs),
            **found,
            "member_loss": sum(losses) / len(losses) if len(losses) == len(subset) else None,
            "members": len(subset),
            "flops": training_flops(subset, specs),
        }


def _specs_of_subset(store: str, text: str) -> list[TrialSpec]:
    return specs_of(store, members.parse(text))


def _outcome(
    spec: TrialSpec, state: Any, message: str | None, started: dt.datetime, metrics: Mapping[str, Value | None]
) -> Outcome:
    ended = dt.datetime.now(dt.UTC)
    return Outcome(spec.trial_id, state, message, None, started, ended, (ended - started).total_seconds(), metrics)
