"""The workload ``ensemble``: evaluate an ensemble of language models whose weights a store keeps.

A trial is one subset of models and the way they are combined. Trials that run together share the models' predictions.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept import members
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.record import Outcome
from sweeplaw.trials.sampling.corpora import open_text
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.evaluation.subsets import COMBINATIONS
from sweeplaw.trials.workload import NOT_BEGUN, Context, Event
from sweeplaw.trials.workloads.ensemble.specs import agreed, cost, specs_of, training_flops, validation
from sweeplaw.trials.workloads.registry import SWEEP_OPTIONS

KNOBS = (
    Knob("subset", "str", None, "", "the models: TRIAL_ID[:MEMBER][@STEP], with commas between them", member=True),
    Knob("combine", "str", "logits", "", "averaged before or after the softmax", member=True, choices=COMBINATIONS),
)
_METRICS = {
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
        faults = [
            f"workload.{name} is no option of ensemble (accepted: store)"
            for name in options
            if name not in (*SWEEP_OPTIONS, "store")
        ]
        store = options.get("store")
        if rest:
            faults.append(f"workload = 'ensemble:{rest}' is not known (accepted: 'ensemble')")
        if not isinstance(store, str) or not store:
            faults.append("workload.store: missing (accepted: the path or URI of the store that keeps the weights)")
        if faults:
            raise InputError(faults)
        return cls(str(store) if "://" in str(store) else str(Path(options.get("folder") or ".", str(store))))

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return _METRICS

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
        faults: dict[str, None] = {}
        for text in {spec["subset"]: None for spec in specs}:
            try:
                specs_of(self.store, members.parse(text))
            except InputError as error:
                faults |= dict.fromkeys(error.faults)
        if faults:
            raise InputError(list(faults))

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
            waiting.setdefault((*validation(first).values(), spec["combine"]), []).append(spec)
        for (*held_out, combine), specs in waiting.items():
            if context.ending():
                yield from (_outcome(spec, "preempted", NOT_BEGUN, started, {}) for spec in specs)
                continue
            for spec, metrics in self._evaluated(held_out, combine, specs, context):
                yield _outcome(spec, "completed", None, started, metrics)

    def _evaluated(
        self, validation_set: Sequence[Any], combine: str, specs: Sequence[TrialSpec], context: Context
    ) -> Generator[tuple[TrialSpec, dict[str, Value | None]], None, None]:
        """Yield the metrics of each trial of one validation set and one combination."""
        import torch  # which a plan does not need

        from sweeplaw.trials.kept.ensembles import evaluate

        corpus, tokenizer, window, tokens = validation_set
        held_out = open_text(corpus, tokenizer, self.store).held_out(window, tokens)
        windows = torch.from_numpy(held_out.read(torch.arange(held_out.size).numpy()))
        subsets = [members.parse(spec["subset"]) for spec in specs]
        names = list(dict.fromkeys(name for subset in subsets for name in subset))
        masks = [sum(1 << names.index(name) for name in subset) for subset in subsets]
        before = torch.get_num_threads()
        torch.set_num_threads(context.threads)
        try:
            wanted = [*(1 << i for i in range(len(names))), *masks]
            losses = evaluate(locate(self.store), names, windows, wanted, combine, context.device)
        finally:
            torch.set_num_threads(before)
        alone = dict(zip(names, losses, strict=False))
        for spec, subset, loss in zip(specs, subsets, losses[len(names) :], strict=True):
            yield spec, self._metrics(subset, loss, [alone[name] for name in subset])

    def _metrics(self, subset: Sequence[MemberName], loss: float, alone: Sequence[float]) -> dict[str, Value | None]:
        specs = specs_of(self.store, subset)
        return {
            **agreed(specs),
            "val_loss": loss,
            "member_loss": sum(alone) / len(alone),
            "members": len(subset),
            "flops": training_flops(subset, specs),
        }


def _outcome(
    spec: TrialSpec, state: Any, message: str | None, started: dt.datetime, metrics: Mapping[str, Value | None]
) -> Outcome:
    ended = dt.datetime.now(dt.UTC)
    return Outcome(spec.trial_id, state, message, None, started, ended, (ended - started).total_seconds(), metrics)
