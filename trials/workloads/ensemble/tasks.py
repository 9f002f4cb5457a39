"""The workload ``evaluation``: tasks beside the validation loss, evaluated with models whose weights a store keeps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sweeplaw.trials.corpus.names import vocabulary
from sweeplaw.trials.errors import gathered
from sweeplaw.trials.kept import members
from sweeplaw.trials.spec import Knob, TrialSpec
from sweeplaw.trials.tasks import names
from sweeplaw.trials.workloads.ensemble.specs import specs_of
from sweeplaw.trials.workloads.ensemble.workload import KNOBS, METRICS, Ensemble

_TASK = Knob("task", "str", None, "", "loss:CORPUS, choice:FILE of questions, or lm-eval:TASK")
_METRICS = {
    "accuracy": ("", "share of questions answered right"),
    "accuracy_normalized": ("", "the same by log-likelihood a character of a choice"),
    "accuracy_error": ("", "standard error of accuracy"),
    "questions": ("", "questions of the task"),
    "score": ("", "first metric that lm-eval reports of the task"),
    "score_name": ("", "the name of that metric"),
}


@dataclass(frozen=True, slots=True)
class Evaluation(Ensemble):
    """Tasks for the models whose weights are kept in ``store``; ``val_loss`` is that of the task (`trials.tasks`).

    Relative paths of files and corpora start at ``folder``.
    """

    name: str = "evaluation"
    knobs: tuple[Knob, ...] = (*KNOBS, _TASK)
    folder: str = ""

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Evaluation:
        """Return the workload. A relative ``store`` starts at the folder of the sweep. Raise InputError."""
        return cls(cls._store(rest, options, "evaluation"), folder=str(options.get("folder") or ""))

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return {**METRICS, **_METRICS}

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        if not isinstance(values.get("task"), str):
            return dict(values)
        return {**values, "task": names.canonical(values["task"], Path(self.folder))}

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Check that the models are kept, and that the tasks can be read. Raise InputError with all faults."""
        from sweeplaw.trials.tasks import evaluation

        named = {str(spec["task"]) for spec in specs}
        checks: dict[str, Callable[[], None]] = {task: partial(evaluation.check, task) for task in sorted(named)}
        checks["models"] = partial(Ensemble.check, self, specs)
        gathered(checks)
        gathered({read: partial(evaluation.check_text, *read, self.store) for read in self._reads(specs)})

    def _reads(self, specs: Sequence[TrialSpec]) -> dict[tuple[str, str, int, int], None]:
        """Return each task with the tokenizer, the vocabulary and the context of models that read it."""
        return {
            (str(spec["task"]), one["tokenizer"], vocabulary(one["corpus"], one["tokenizer"]), one["context"]): None
            for spec in specs
            for one in specs_of(self.store, members.parse(spec["subset"]))
        }

    def _task(self, spec: TrialSpec, corpus: str) -> str:
        """Return the task of a trial."""
        return str(spec["task"])
