"""The closed forms of the linear task against brute force, limits and each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sweeplaw.trials.record import Outcome
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workload import Context
from sweeplaw.trials.workloads.linear_dynamics import exponents, theory
from sweeplaw.trials.workloads.linear_dynamics.flow import RIDGES, risks, sample_flow
from sweeplaw.trials.workloads.linear_dynamics.population import LinearTask, linear_task
from sweeplaw.trials.workloads.registry import load

DRAWS = 400


def isotropic(noise: float, init: float, dimension: int = 60) -> LinearTask:
    return linear_task(dimension, dimension, 0, 0, noise, init)


def draw(task: LinearTask, samples: int, seed: int):
    generator = np.random.default_rng(seed)
    start = generator.standard_normal(task.width) * task.init / np.sqrt(task.width)
    inputs = generator.standard_normal((samples, len(task.teacher))) * np.sqrt(task.variances)
    return sample_flow(task, start, inputs, task.noise * generator.standard_normal(samples)), start, inputs


@pytest.mark.parametrize("ratio", [0.2, 0.5, 0.99, 2.0, 10.0])
def test_the_marchenko_pastur_averages_have_the_moments_of_a_sample_covariance(ratio: float) -> None:
    """Mean 1, second moment 1 + c (Marchenko & Pastur 1967); all of it, zeros included, sums to 1."""
    average = theory.marchenko_pastur(ratio)
    assert average.of(np.ones_like, at_zero=1.0) == pytest.approx(1, abs=1e-8)
    assert average.of(lambda value: value) == pytest.approx(1, abs=1e-12)
    assert average.of(lambda value: value**2) == pytest.approx(1 + ratio, abs=1e-12)
    if ratio < 0.9:
        assert average.of(lambda value: 1 / value) == pytest.approx(1 / (1 - ratio), rel=1e-10)


@pytest.mark.parametrize("samples", [20, 90])
def test_the_flow_solves_its_differential_equation(samples: int) -> None:
    from scipy.integrate import solve_ivp

    task = linear_task(40, 25, 0.7, 1.6, 0.4, 0.5)
    flow, start, inputs = draw(task, samples, 3)
    generator = np.random.default_rng(3)
    generator.standard_normal(task.width)
    generator.standard_normal((samples, 40))
    labels = inputs @ task.teacher + task.noise * generator.standard_normal(samples)
    own = inputs[:, :25]

    def velocity(_: float, student: np.ndarray) -> np.ndarray:
        return -own.T @ (own @ student - labels) / samples

    times = np.array([0.1, 1.0, 10.0, 100.0])
    solved = solve_ivp(velocity, (0, 100), start, t_eval=times, rtol=1e-11, atol=1e-13, method="DOP853")
    students = flow.students(times)
    assert np.allclose(students, solved.y.T, atol=1e-8)
    errors = own @ students.T - labels[:, None]
    assert np.allclose(flow.train_losses(students), (errors**2).mean(axis=0), atol=1e-10)
    by_hand = [
        np.sum(task.variances * (np.pad(student, (0, 15)) - task.teacher) ** 2) + task.noise**2 for student in students
    ]
    assert np.allclose(risks(task, students), by_hand, atol=1e-12)
    assert np.allclose(flow.risks(times), by_hand, atol=1e-12)


@pytest.mark.parametrize("samples", [6, 20, 90])
@pytest.mark.parametrize("exponents", [(0.0, 0.0), (2.0, 2.0), (4.0, 5.0)])
def test_risks_in_the_directions_of_the_samples_are_those_of_whole_students(
    samples: int, exponents: tuple[float, float]
) -> None:
    task = linear_task(25, 25, *exponents, 0.0, 0.3)
    flow, _, _ = draw(task, samples, 7)
    times = np.geomspace(1e-2, 1e9, 450)  # more than are held in memory together
    assert np.allclose(flow.risks(times), risks(task, flow.students(times)), rtol=1e-9, atol=1e-16)
    ridges = RIDGES * flow.rates.max()
    assert flow.best_ridge_risk() == pytest.approx(risks(task, flow.ridge_students(ridges)).min(), rel=1e-9)


@pytest.mark.parametrize("samples", [20, 90])
def test_ridge_students_solve_the_normal_equations(samples: int) -> None:
    task = linear_task(40, 25, 0.7, 1.6, 0.4, 0.0)
    flow, _, inputs = draw(task, samples, 5)
    own, ridge = inputs[:, :25], 0.3
    covariance = own.T @ own / samples
    expected = np.linalg.solve(covariance + ridge * np.eye(25), covariance @ flow.students(np.array([np.inf]))[0])
    assert np.allclose(flow.ridge_students(np.array([ridge]))[0], expected, atol=1e-10)


@pytest.mark.heavy
@pytest.mark.parametrize("ratio", [0.5, 2.0])
def test_the_expected_risk_is_the_mean_over_draws(ratio: float) -> None:
    """Within three standard errors and the correction of order 1 / dimension that the limit of large sizes leaves."""
    task = isotropic(0.5, 0.7)
    times = np.array([0.3, 2.0, 20.0])
    found = np.array([risks(task, draw(task, round(60 / ratio), seed)[0].students(times)) for seed in range(DRAWS)])
    mean, error = found.mean(axis=0), found.std(axis=0) / np.sqrt(DRAWS)
    expected = np.array([theory.flow_risk(ratio, float(time), 0.5, 0.7) for time in times])
    assert np.all(np.abs(mean - expected) < 3 * error + expected / 60)


@pytest.mark.heavy
def test_the_best_ridge_is_the_minimum_of_its_risk_and_no_stopping_time_does_better() -> None:
    for ratio in (0.3, 1.0, 4.0):
        for noise in (0.2, 1.0):
            best = theory.ridge_risk(ratio, theory.best_ridge(ratio, noise), noise)
            around = [
                theory.ridge_risk(ratio, theory.best_ridge(ratio, noise) * factor, noise) for factor in (0.9, 1.1)
            ]
            assert best < min(around)
            assert best < theory.best_stopping(ratio, noise, 0.0)[1] < 1.03 * best


@pytest.mark.heavy
def test_the_best_stopping_time_is_the_minimum_and_falls_with_the_noise() -> None:
    when, least = theory.best_stopping(0.8, 0.5, 0.0)
    around = [theory.flow_risk(0.8, when * factor, 0.5, 0.0) for factor in (0.98, 1.02)]
    assert least < min(around)
    times = [theory.best_stopping(0.8, noise, 0.0)[0] for noise in (0.1, 0.3, 1.0, 3.0)]
    assert times == sorted(times, reverse=True)
    assert theory.best_stopping(0.5, 0.0, 0.0)[0] == np.inf


def test_without_noise_the_risk_after_long_training_is_the_share_of_directions_not_seen() -> None:
    assert theory.flow_risk(4.0, 1e6, 0.0, 0.0) == pytest.approx(0.75, abs=1e-8)
    assert theory.flow_risk(0.25, 1e6, 0.0, 0.0) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.heavy
def test_the_expected_risk_of_sgd_is_the_mean_over_runs() -> None:
    task = linear_task(12, 8, 1.0, 1.5, 0.3, 0.4)
    lr, batch, steps, runs = 0.3, 2, 30, 4000
    generator = np.random.default_rng(0)
    students = generator.standard_normal((runs, 8)) * 0.4 / np.sqrt(8)
    for _ in range(steps):
        inputs = generator.standard_normal((runs, batch, 12)) * np.sqrt(task.variances)
        labels = inputs @ task.teacher + 0.3 * generator.standard_normal((runs, batch))
        errors = np.einsum("rbk,rk->rb", inputs[..., :8], students) - labels
        students -= lr * np.einsum("rbk,rb->rk", inputs[..., :8], errors) / batch
    found = risks(task, students)
    expected = theory.online_risks(task, lr, batch, steps)
    assert abs(found.mean() - expected[-1]) < 3 * found.std() / np.sqrt(runs)
    assert expected[0] == pytest.approx(np.sum(task.learnable) + task.missing)


@pytest.mark.heavy
def test_the_best_learning_rate_of_sgd_grows_with_the_batch_up_to_a_critical_one() -> None:
    """Linear at small batches, where gradient noise limits it; constant at large ones (McCandlish et al. 2018)."""
    task = linear_task(50, 50, 1.0, 1.5, 1.0, 0.0)
    rates = np.geomspace(1e-3, 1.0, 121)

    def best(batch: int) -> float:
        return float(rates[np.argmin([theory.online_risks(task, rate, batch, 100)[-1] for rate in rates])])

    small, large = [best(batch) for batch in (1, 4)], [best(batch) for batch in (2**16, 2**20)]
    assert large[1] / large[0] == pytest.approx(1.0, abs=0.07)
    assert 2 < small[1] / small[0] < 4.5


def test_exponents_are_the_local_slopes_of_the_closed_forms() -> None:
    capacity, decay = 1.5, 1.8
    task = linear_task(200_000, 200_000, capacity, decay, 0.0, 0.0)
    early, late = (theory.population_flow(task, time) for time in (1e3, 1e4))
    assert np.log10(early / late) == pytest.approx(exponents.in_time(capacity, decay), abs=0.01)
    narrow, wide = (theory.population_flow(linear_task(200_000, k, capacity, decay, 0, 0), 1e15) for k in (100, 1000))
    tail = 200_000 ** (1 - decay) / (decay - 1)  # that no student has, because the inputs end
    assert np.log10((narrow + tail) / (wide + tail)) == pytest.approx(exponents.in_width(decay), abs=0.01)


@pytest.mark.heavy
def test_the_exponent_in_samples_is_that_of_long_training_on_draws() -> None:
    capacity, decay = 1.2, 2.0
    task = linear_task(4000, 4000, capacity, decay, 0.0, 0.0)
    means = []
    for samples in (40, 160):
        found = [risks(task, draw(task, samples, seed)[0].students(np.array([1e12]))).item() for seed in range(12)]
        means.append(np.mean(found))
    assert np.log(means[0] / means[1]) / np.log(4) == pytest.approx(exponents.in_samples(capacity, decay), abs=0.12)


@pytest.mark.heavy
@pytest.mark.parametrize(("samples", "left"), [(200, 0.5), (800, 0.0)])
def test_without_noise_the_best_ridge_misses_what_the_samples_do_not_span(
    tmp_path: Path, samples: int, left: float
) -> None:
    """The teacher of norm 1 has equal power in 400 directions, of which the samples span at most ``samples``."""
    workload = load("linear_dynamics")
    values = workload.resolve({"dimension": 400, "samples": samples, "time": 5})
    (*_, ended) = workload.run([TrialSpec.of(workload.name, workload.knobs, values)], Context("cpu", tmp_path))
    assert isinstance(ended, Outcome)
    assert ended.metrics["theory_ridge_loss"] == pytest.approx(left, abs=1e-12)
    assert ended.metrics["ridge_loss"] == pytest.approx(left, abs=0.1)
