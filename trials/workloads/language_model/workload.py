"""The workload ``language_model``: its knobs, facts, cost and checks; training itself is `run`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sweeplaw.trials import accounting
from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.corpus.open import open_corpus
from sweeplaw.trials.errors import InputError, joined
from sweeplaw.trials.record import TRIAL_COLUMNS
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.workload import Context, Event, Trunk
from sweeplaw.trials.workloads.language_model import short_text, task_columns, training_knobs
from sweeplaw.trials.workloads.language_model.knobs import (
    KNOBS,
    METRICS,
    MOMENTS,
    OPERANDS,
    REQUESTS,
    SHAPE,
    WORKSPACES,
)
from sweeplaw.trials.workloads.language_model.resolve import (
    check_weights,
    in_store,
    length_of,
    resolve,
    shape_of,
    validation_corpus,
)
from sweeplaw.trials.workloads.registry import SWEEP_OPTIONS


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """The workload ``language_model``. Relative paths of corpora and tokenizers start at ``folder``.

    ``store``, a path or URI, has the synthetic corpora, teachers and initial weights that trials name. ``tasks`` are
    evaluated with every model that completes, by the beginning of their columns (`task_columns`).
    """

    folder: Path | None = None
    store: str | None = None
    name: str = "language_model"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = REQUESTS
    spreads: bool = True
    stacks: bool = True
    resumes: bool = True
    keeps: bool = True
    divides_micro_batch: bool = True
    trunk_knobs: frozenset[str] = training_knobs.BEHIND_TRUNK
    length_knobs: frozenset[str] = training_knobs.LENGTH
    joined_knobs: frozenset[str] = training_knobs.JOINED
    zero_knobs: frozenset[str] = frozenset({"lr"})
    tasks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> LanguageModel:
        """Return the language model. A relative ``store`` starts at the folder of the sweep. Raise InputError."""
        faults = [
            f"workload.{name} is no option of language_model (accepted: store, tasks)"
            for name in options
            if name not in (*SWEEP_OPTIONS, "store", "tasks")
        ]
        folder, store = options.get("folder"), options.get("store")
        if store is not None and not (isinstance(store, str) and store):
            faults.append(f"workload.store = {store!r} (accepted: the path or URI of a store)")
        if rest:
            faults.append(f"workload = 'language_model:{rest}' is not known (accepted: 'language_model')")
        place = Path(folder) if folder else None
        taken = {*METRICS, *(knob.name for knob in KNOBS), *(column.name for column in TRIAL_COLUMNS)}
        tasks = task_columns.read(options.get("tasks", {}), place, taken, faults)
        if faults:
            raise InputError(faults)
        if store is not None and "://" not in store:
            store = str(Path(folder or ".", store))
        return cls(place, store, tasks=tasks)

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return {**METRICS, **task_columns.columns(self.tasks)}

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return resolve(values, self.folder)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        cost = Cost()
        if all(values.get(name) is not None for name in SHAPE):
            cost = _cost(values)
        else:
            length = length_of(values)
            cost = Cost(tokens=length.tokens, steps=length.steps, batch_tokens=length.batch_tokens)
        known = {item.name: getattr(cost, item.name) for item in fields(cost)}
        return {name: value for name, value in known.items() if isinstance(value, int | float)}

    def trunk(self, knobs: Mapping[str, Value]) -> Trunk | None:
        """Return the updates before the decay of ``wsd``, and all of ``constant``; None for the other schedules."""
        schedule = training_knobs.schedule(knobs)
        steps = None if knobs["changes"] else schedule.stable_steps
        return None if steps is None else Trunk(schedule.warmup_steps, steps)

    def joined_faults(self, knobs: Mapping[str, Value]) -> list[str]:
        """Return errors for knobs that do not apply to the chosen optimizer, schedule, precision or length."""
        return [*training_knobs.member_faults(knobs), *training_knobs.change_faults(knobs)]

    def cost(self, spec: TrialSpec) -> Cost:
        """Return the cost of the spec.

        Raise InputError for data below one batch, weights without a source, and a base that does not fit the shape.
        """
        check_weights(spec.knobs)
        training_knobs.check(spec.knobs)
        cost = _cost(spec.knobs)
        if not cost.steps:
            data = f"unique_tokens = {spec['unique_tokens']} x epochs = {spec['epochs']:g}"
            batch = f"batch_sequences = {spec['batch_sequences']} x context = {spec['context']}"
            raise InputError(f"{data} is less than one batch of {batch}")
        return cost

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Open each corpus and check that it has the tokens that the specs need. Raise InputError with all faults."""
        faults: dict[str, None] = {}
        for spec in specs:
            if spec["changes"]:
                faults |= dict.fromkeys(training_knobs.change_faults(spec.knobs))
        settings = {tuple(spec[name] for name in training_knobs.READ): spec for spec in specs}
        for spec in settings.values():
            faults |= dict.fromkeys(training_knobs.member_faults(spec.knobs))
        faults |= dict.fromkeys(self._task_faults(specs))
        errors = [*([InputError(list(faults))] if faults else []), *_errors(self._check_text, specs)]
        if errors:
            raise joined(errors)

    def absent_sources(self, specs: Sequence[TrialSpec]) -> list[str]:
        """Return a sentence for each synthetic text, teacher and initial model that is not there or does not fit."""
        return list(dict.fromkeys(fault for one in _errors(self._check_sources, specs) for fault in one.faults))

    def short_corpora(self, specs: Sequence[TrialSpec]) -> list[str]:
        """Return a sentence for each corpus with fewer training or held-out tokens than a spec asks for, of those that
        are at hand and open quickly.
        """
        return short_text.sentences(specs)

    def _check_sources(self, spec: TrialSpec) -> None:
        if in_store(spec) or spec["validation_corpus"]:
            from sweeplaw.trials.workloads.language_model.sources import check_sources  # imports torch

            check_sources(spec, self.store)

    def _task_faults(self, specs: Sequence[TrialSpec]) -> list[str]:
        reads = {(spec["tokenizer"], shape_of(spec.knobs).vocabulary, spec["context"]) for spec in specs}
        return task_columns.check(self.tasks, sorted(reads), self.store)

    def _check_text(self, spec: TrialSpec) -> None:
        self._check_sources(spec)
        if in_store(spec) or spec["validation_corpus"]:
            from sweeplaw.trials.sampling.corpora import open_text

            corpora = [
                open_text(name, spec["tokenizer"], self.store)
                for name in (spec["corpus"], validation_corpus(spec.knobs))
            ]
        else:
            corpora = [open_corpus(spec["corpus"], spec["tokenizer"])] * 2
        corpora[0].budget(spec["context"], spec["unique_tokens"])
        windows = corpora[1].held_out(spec["context"], spec["validation_tokens"]).size
        if task_columns.OF_HELD_OUT in self.tasks.values():
            request = (
                f"validation_tokens = {spec['validation_tokens']} and as many again for {task_columns.OF_HELD_OUT}"
            )
            corpora[1].held_out(spec["context"], 2 * windows * spec["context"], request)

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Generator[Event, None, None]:
        """Train the pack: stacked on an accelerator, one trial after another on a CPU."""
        from sweeplaw.trials.workloads.language_model.run import run  # imports torch, which a plan does not need

        yield from run(pack, context, self.store, self.tasks)


def _errors(check: Callable[[TrialSpec], None], specs: Sequence[TrialSpec]) -> list[InputError]:
    """Return what a check finds in specs, once for those that agree in what it reads."""
    found: list[InputError] = []
    for spec in {tuple(spec[name] for name in _SOURCES): spec for spec in specs}.values():
        try:
            check(spec)
        except InputError as error:
            found.append(error)
    return found


_SOURCES = (
    "corpus", "tokenizer", "context", "unique_tokens", "validation_tokens", "validation_corpus",
    "synthetic", "teachers", "init_from", "members", *SHAPE, "tied_embeddings", "qk_norm", "rope_base",
)  # fmt: skip


def _cost(knobs: Mapping[str, Any]) -> Cost:
    """Return the cost: parameters and tokens of one member, FLOPs and memory of all members."""
    shape, length, members = shape_of(knobs), length_of(knobs), knobs["members"]
    groups = accounting.parameters(shape)
    size = 2 if knobs["precision"] == "bfloat16" else 4
    memory = accounting.memory(
        shape,
        knobs["context"],
        knobs["batch_sequences"],
        members=members,
        bytes_per_value=size,
        moments=MOMENTS[knobs["optimizer"]],
        workspace=WORKSPACES.get(knobs["optimizer"], 1),
        operands=OPERANDS.get(knobs["precision"], accounting.PLAIN),
    )
    flops_per_token = accounting.FLOPS_CONVENTIONS[accounting.RECORDED_CONVENTION](shape, knobs["context"])
    return Cost(
        params=groups.total,
        params_embedding=groups.embedding,
        params_non_embedding=groups.non_embedding,
        tokens=length.tokens,
        unique_tokens=length.unique_tokens,
        epochs=knobs["epochs"],
        steps=length.steps,
        batch_sequences=knobs["batch_sequences"],
        batch_tokens=length.batch_tokens,
        flops_per_token=flops_per_token,
        flops=flops_per_token * length.tokens * members,
        flops_convention=accounting.RECORDED_CONVENTION,
        memory_bytes=memory.peak,
        state_bytes=memory.state,
        gathered_bytes=memory.gathered,
        undivided_bytes=memory.undivided,
        gradient_bytes=memory.gradients,
    )
