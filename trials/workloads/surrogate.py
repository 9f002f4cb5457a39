"""A loss surface in closed form, plus seeded noise: a sweep takes seconds, and analyses have a truth to recover.

    loss = E + A / N^alpha + B / D^beta                                            (the law)
         + LR_CURVATURE    ln(lr / lr*(N, D))^2                                    (the cost of a wrong setting)
         + BATCH_CURVATURE ln(batch / batch*(D))^2
         + DECAY_CURVATURE ln((wd + DECAY_SCALE) / (wd* + DECAY_SCALE))^2
         + noise x a normal deviate seeded from the trial id

The knob ``behaviour`` plants each way in which a trial can end, to test schedulers and stores.
"""

from __future__ import annotations

import datetime as dt
import math
import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeplaw.trials.accounting import Cost
from sweeplaw.trials.record import STATES, CurvePoint, Outcome
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.store_format import checkpoint
from sweeplaw.trials.workload import Context, Event
from sweeplaw.trials.workloads.registry import refuse_options

# Chinchilla's parametric law, E + A/N^alpha + B/D^beta (Hoffmann et al. 2022, arXiv:2203.15556, eq. 10), with the
# constants of its replication (Besiroglu et al. 2024, arXiv:2404.10102, eq. 2).
E, A, ALPHA, B, BETA = 1.8172, 482.01, 0.3478, 2085.43, 0.3658

# Assumptions: nats per squared e-fold from the optimum, the best weight decay, and the decay below which weight decay
# has no effect (so that weight decay 0 has a finite loss).
LR_CURVATURE, BATCH_CURVATURE, DECAY_CURVATURE = 0.05, 0.01, 0.005
OPTIMAL_DECAY, DECAY_SCALE = 0.1, 0.001
SEQUENCE_TOKENS = 256  # assumption: tokens of one sequence of a batch

CURVE_FRACTIONS = (0.25, 0.5, 0.75, 1.0)
BEHAVIOURS = ("normal", "diverged", "failed", "out_of_memory", "killed", "raised")


def law(params: float, tokens: float) -> float:
    """Return the loss in nats a token of the best settings at this size and data budget."""
    nats: float = E + A / params**ALPHA + B / tokens**BETA
    return nats


def optimal_lr(params: float, tokens: float) -> float:
    """Step Law: lr* = 1.79 N^-0.713 D^0.307, N non-embedding (Li et al. 2025, arXiv:2503.04715)."""
    lr: float = 1.79 * params**-0.713 * tokens**0.307
    return lr


def optimal_batch_tokens(tokens: float) -> float:
    """Step Law: B* = 0.58 D^0.571 in tokens (Li et al. 2025, arXiv:2503.04715)."""
    batch_tokens: float = 0.58 * tokens**0.571
    return batch_tokens


def loss(params: float, tokens: float, lr: float, weight_decay: float, batch_sequences: float) -> float:
    """Return the surface without noise, in nats a token."""
    return law(params, tokens) + _penalty(params, tokens, lr, weight_decay, batch_sequences)


def _penalty(params: float, tokens: float, lr: float, weight_decay: float, batch_sequences: float) -> float:
    lr_off = math.log(lr / optimal_lr(params, tokens))
    batch_off = math.log(batch_sequences * SEQUENCE_TOKENS / optimal_batch_tokens(tokens))
    decay_off = math.log((weight_decay + DECAY_SCALE) / (OPTIMAL_DECAY + DECAY_SCALE))
    return LR_CURVATURE * lr_off**2 + BATCH_CURVATURE * batch_off**2 + DECAY_CURVATURE * decay_off**2


KNOBS = (
    Knob("params", "int", None, "parameters", "N: size of the pretended model", low=1, high=1e15),
    Knob("tokens", "int", None, "tokens", "D: pretended training tokens", low=1, high=1e18),
    Knob("lr", "float", 0.01, "", "peak learning rate", member=True, low=1e-12, high=1e3),
    Knob("weight_decay", "float", 0.1, "", "decoupled weight decay", member=True, low=0, high=1e3),
    Knob(
        "batch_sequences", "int", 32, "sequences", f"batch in sequences of {SEQUENCE_TOKENS} tokens", low=1, high=1e12
    ),
    Knob("seed", "int", 0, "", "another draw of the noise", member=True),
    Knob("noise", "float", 0.0, "nats/token", "standard deviation of the noise", member=True, low=0, high=10),
    Knob("seconds", "float", 0.0, "s", "time each trial sleeps", member=True, low=0, high=86400),
    Knob("behaviour", "str", "normal", "", "how the trial ends", member=True, choices=BEHAVIOURS),
)


@dataclass(frozen=True, slots=True)
class Surrogate:
    """The workload ``surrogate``.

    ``behaviour`` plants an ending: one of four states, ``killed`` (the process that runs the pack kills itself with
    SIGKILL, as the kernel's out-of-memory killer would) or ``raised`` (an exception leaves the pack).
    """

    name: str = "surrogate"
    knobs: tuple[Knob, ...] = KNOBS
    requests: tuple[Knob, ...] = ()
    spreads: bool = False
    stacks: bool = False
    resumes: bool = True
    keeps: bool = False
    divides_micro_batch: bool = False

    @classmethod
    def of(cls, rest: str, options: Mapping[str, Any]) -> Surrogate:
        """Return the surrogate, which has no options. Raise InputError for any except those that every sweep adds."""
        refuse_options("surrogate", rest, options)
        return cls()

    @property
    def metrics(self) -> Mapping[str, tuple[str, str]]:
        return {"noiseless_loss": ("nats/token", "the surface without noise at this trial's settings")}

    def resolve(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return dict(values)

    def facts(self, values: Mapping[str, Any]) -> dict[str, int | float]:
        known: dict[str, int | float] = {}
        if "batch_sequences" in values:
            known["batch_tokens"] = values["batch_sequences"] * SEQUENCE_TOKENS
        if "params" in values:
            known["params_non_embedding"] = values["params"]
            known["flops_per_token"] = 6.0 * values["params"]
        if "params" in values and "tokens" in values:
            known["flops"] = 6.0 * values["params"] * values["tokens"]
        return known

    def cost(self, spec: TrialSpec) -> Cost:
        params, tokens = spec["params"], spec["tokens"]
        return Cost(
            params=params,
            params_embedding=0,
            params_non_embedding=params,
            tokens=tokens,
            unique_tokens=tokens,
            epochs=1.0,
            steps=_steps(spec),
            batch_sequences=spec["batch_sequences"],
            batch_tokens=spec["batch_sequences"] * SEQUENCE_TOKENS,
            flops_per_token=6.0 * params,
            flops=6.0 * params * tokens,
            flops_convention="6ND",  # Kaplan et al. 2020, arXiv:2001.08361, section 2.1
        )

    def check(self, specs: Sequence[TrialSpec]) -> None:
        """Do nothing: there are no external requirements."""

    def look_up(self, spec: TrialSpec) -> Iterator[Event]:
        normal = spec["behaviour"] == "normal"
        points = [point for point in _curve(spec) if normal or 2 * point.step <= _steps(spec)]
        yield from points
        last = points[-1] if points else None
        metrics: dict[str, Value | None] = {}
        if last and normal:
            true = loss(*(spec[name] for name in _SURFACE))
            metrics = {"val_loss": last.val_loss, "train_loss": last.train_loss, "noiseless_loss": true}
        state = next((state for state in STATES if state == spec["behaviour"]), "completed" if normal else "failed")
        message = None if normal else f"planted: {spec['behaviour']}"
        yield Outcome(spec.trial_id, state, message, last.step if last else 0, metrics=metrics)

    def run(self, pack: Sequence[TrialSpec], context: Context) -> Iterator[Event]:
        for spec in pack:
            if spec["behaviour"] == "raised":
                raise RuntimeError(f"planted: an exception leaves the pack at trial {spec.trial_id}")
            yield from _trial(spec, context)


def _steps(spec: TrialSpec) -> int:
    tokens, batch_sequences = int(spec["tokens"]), int(spec["batch_sequences"])
    return -(-tokens // (batch_sequences * SEQUENCE_TOKENS))


def _trial(spec: TrialSpec, context: Context) -> Iterator[Event]:
    started_at, started = dt.datetime.now(dt.UTC), time.perf_counter()
    state, message, metrics = spec["behaviour"], None, {}
    reached = _checkpointed(spec, context)
    last_step: int | None = 0
    for point in _curve(spec):
        if point.step > reached:
            if spec["seconds"]:  # sleeping for 0 s still costs a context switch
                time.sleep(spec["seconds"] / len(CURVE_FRACTIONS))
            if context.ending():
                state = "preempted"
                break
            if state != "normal" and 2 * point.step > _steps(spec):
                break
        last_step, metrics = point.step, {"val_loss": point.val_loss, "train_loss": point.train_loss}
        yield point
    if state == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if state == "normal":
        state = "completed"
        metrics["noiseless_loss"] = loss(*(spec[name] for name in _SURFACE))
    else:
        ending = "preempted" if state == "preempted" else f"planted: {state}"
        message, metrics = f"{ending} after step {last_step}", {}
    if state == "preempted" and not _save(spec, context, last_step or 0):
        last_step = None  # it starts anew
    elif reached and state in checkpoint.ENDED and context.checkpoints is not None:
        checkpoint.remove(context.checkpoints, spec.trial_id)
    yield Outcome(
        trial_id=spec.trial_id,
        state=state,
        message=message,
        last_step=last_step,
        started_at=started_at,
        ended_at=dt.datetime.now(dt.UTC),
        train_seconds=time.perf_counter() - started,
        metrics=metrics,
    )


def _save(spec: TrialSpec, context: Context, step: int) -> bool:
    """Leave the step that was reached as a checkpoint; return whether there is one now."""
    if context.checkpoints is None or step == 0:
        return False
    try:
        checkpoint.save(context.checkpoints, spec.trial_id, spec.canonical(), checkpoint.Saved({}, {"step": step}))
    except OSError:
        return False
    return True


def _checkpointed(spec: TrialSpec, context: Context) -> int:
    """Return the step that an earlier attempt has reached, whose points are yielded again at once."""
    if context.checkpoints is None:
        return 0
    saved = checkpoint.load(context.checkpoints, spec.trial_id, spec.canonical())
    return int(saved.note["step"]) if saved else 0


_SURFACE = ("params", "tokens", "lr", "weight_decay", "batch_sequences")


def _curve(spec: TrialSpec) -> Iterator[CurvePoint]:
    """Yield the law along the data, plus the trial's own penalty and noise: the last point is the trial's loss."""
    params, tokens = spec["params"], spec["tokens"]
    offset = _penalty(*(spec[name] for name in _SURFACE))
    if spec["noise"]:
        offset += spec["noise"] * random.Random(spec.trial_id).gauss(0.0, 1.0)
    steps, done = _steps(spec), 0
    for fraction in CURVE_FRACTIONS:
        step = math.ceil(fraction * steps)
        if step == done:
            continue
        done = step
        seen = min(tokens, step * spec["batch_sequences"] * SEQUENCE_TOKENS)
        value = law(params, seen) + offset
        yield CurvePoint(spec.trial_id, step, tokens=seen, train_loss=value, val_loss=value, lr=spec["lr"])
