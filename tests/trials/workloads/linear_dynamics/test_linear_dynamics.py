"""The workload: columns beside their theory, faults, and randomness from the spec alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.record import CurvePoint, Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.registry import load

WORKLOAD = load("linear_dynamics")


def spec(**values: Any) -> TrialSpec:
    return TrialSpec.of(WORKLOAD.name, WORKLOAD.knobs, WORKLOAD.resolve(values))


def run(folder: Path, *specs: TrialSpec) -> tuple[list[CurvePoint], list[Mapping[str, Any]]]:
    events = list(WORKLOAD.run(specs, Context("cpu", folder)))
    outcomes = [event for event in events if isinstance(event, Outcome)]
    assert all(outcome.state == "completed" for outcome in outcomes)
    return [event for event in events if isinstance(event, CurvePoint)], [outcome.metrics for outcome in outcomes]


@pytest.mark.heavy
def test_a_large_sample_flow_is_near_its_theory(tmp_path: Path) -> None:
    """One draw of 800 coordinates; its risk scatters by some per cent."""
    _, (found,) = run(tmp_path, spec(dimension=800, samples=1000, noise=0.5, time=20))
    for name in ("loss", "best_time_loss", "ridge_loss"):
        measured = found["val_loss" if name == "loss" else name]
        assert measured == pytest.approx(found[f"theory_{name}"], rel=0.1), name
    assert found["best_time"] == pytest.approx(found["theory_best_time"], rel=0.3)
    assert found["ridge_loss"] < found["best_time_loss"] < found["val_loss"]


@pytest.mark.heavy
def test_steps_are_near_their_theory_and_a_flow_on_the_population_is_it(tmp_path: Path) -> None:
    common = {"dimension": 100, "capacity_exponent": 1.0, "decay_exponent": 1.5}
    steps = [spec(dynamics="sgd", lr=0.1, batch=16, steps=300, noise=0.1, seed=seed, **common) for seed in range(8)]
    _, found = run(tmp_path, *steps)
    assert np.mean([one["val_loss"] for one in found]) == pytest.approx(found[0]["theory_loss"], rel=0.1)
    points, (flow,) = run(tmp_path, spec(time=1000, **common))
    assert flow["val_loss"] == pytest.approx(flow["theory_loss"], rel=1e-12)
    losses = [point.val_loss or 0.0 for point in points]
    assert losses == sorted(losses, reverse=True)
    assert points[-1].metrics["elapsed"] == pytest.approx(1000)


def test_adam_learns_and_has_no_closed_form(tmp_path: Path) -> None:
    points, (found,) = run(tmp_path, spec(dynamics="adam", dimension=20, lr=0.01, batch=8, steps=400))
    assert "theory_loss" not in found
    assert found["val_loss"] < 0.1 * points[0].val_loss  # type: ignore[operator]


def test_all_randomness_is_the_seed(tmp_path: Path) -> None:
    values = {"dimension": 10, "samples": 20, "noise": 0.3, "init": 0.5}
    _, found = run(tmp_path, spec(seed=1, **values), spec(seed=2, **values), spec(seed=1, **values))
    assert found[0] == found[2]
    assert found[0]["val_loss"] != found[1]["val_loss"]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"dimension": 10, "width": 11}, "width = 11 is above dimension = 10"),
        ({"decay_exponent": 1.0}, "decay_exponent = 1 with capacity_exponent = 0 (accepted: above 1"),
        ({"capacity_exponent": 2.0}, "decay_exponent = 0 with capacity_exponent = 2 (accepted: above 1"),
    ],
)
def test_exponents_for_which_the_theory_diverges_are_refused(values: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError) as refused:
        spec(**values)
    assert fault in str(refused.value)


def test_a_variance_that_64_bits_do_not_hold_is_refused_and_the_largest_exponent_has_a_risk() -> None:
    with pytest.raises(InputError, match=r"capacity_exponent = 100 with dimension = 2000 .accepted: at most 87\.85"):
        spec(capacity_exponent=100.0, decay_exponent=2.0, dimension=2000)
    (*_, ended) = WORKLOAD.run(
        [spec(capacity_exponent=87.8, decay_exponent=2.0, dimension=2000)], Context("cpu", Path())
    )
    assert isinstance(ended, Outcome)
    assert ended.metrics["val_loss"] == pytest.approx(sum(k**-2.0 for k in range(2, 2001)))  # the first is learned


@pytest.mark.parametrize(
    ("values", "unread"),
    [({"dynamics": "flow", "batch": 4, "steps": 7}, 2), ({"dynamics": "sgd", "samples": 8, "time": 3.0}, 2)],
)
def test_knobs_that_the_dynamics_does_not_read_are_refused(values: dict[str, Any], unread: int) -> None:
    with pytest.raises(InputError) as caught:
        load("linear_dynamics").resolve(values)
    assert len(caught.value.faults) == unread
    assert "is not read by dynamics" in caught.value.faults[0]
