"""Random problems of every law, like public tables: fits end at the optimum that a search from many starts finds.

SWEEPLAW_OPTIMA is the number of problems a law (default 1); with 40 the search has 300 starts.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from sweeplaw.analysis.fitting.solver.derivatives import mean_penalties
from sweeplaw.analysis.fitting.solver.newton import minimise
from sweeplaw.analysis.fitting.solver.objectives import parse_objective
from sweeplaw.analysis.fitting.solver.solve import Setup, in_search_form, residual_scale, set_up, solve
from sweeplaw.analysis.fitting.solver.starts import project
from sweeplaw.analysis.laws.catalog import LAWS
from sweeplaw.analysis.laws.law import Law

PROBLEMS = int(os.environ.get("SWEEPLAW_OPTIMA", "1"))
STARTS = 300 if PROBLEMS >= 40 else 60
OBJECTIVES = (("huber:0.001", "log"), ("huber:0.001", "raw"), ("ls", "raw"), ("huber:0.01", "raw"))
RANGES: dict[str, tuple[float, float]] = {
    "E": (0.3, 2.5), "C": (0.3, 2.5), "RN": (1, 40), "RD": (1, 40), "k": (0.3, 2), "c0": (0.1, 0.5), "c1": (-0.1, 0.5),
    "f": (0.1, 1), "d": (0.4, 2.7), "Nc": (0.4, 2.7), "Dc": (0.4, 2.7), "aD": (0.05, 0.5),
}  # fmt: skip
RANGES_OF: dict[str, dict[str, tuple[float, float]]] = {
    "overfitting": {"P": (0.005, 0.1), "delta": (0.3, 1.3), "kappa": (0.2, 1.2)},
    "critical_batch": {"M0": (0.2, 5), "c": (0, 0.8)},
    "steps_to_loss": {"Kmin": (0.2, 1), "Mcrit": (0.2, 5)},
    "precision": {"gamma": (0.1, 0.6)},
    "mixture_of_experts": {
        "F": (0.3, 1.5), "T": (0.1, 1), "gamma": (-0.02, 0.03), "zeta": (-0.04, 0.02), "s": (-0.3, 0), "t": (-0.2, 0.1),
        "Z": (1, 4), "Xmax": (64, 500),
    },
    "farseer": {
        "F": (0.3, 1.5), "T": (0.1, 1), "b": (0.15, 0.5), "i": (-0.25, -0.05), "j": (-0.3, 0.2), "k": (-0.2, 0.1),
        "u": (-0.3, 0.3), "v": (-0.3, 0.3), "w": (-0.3, 0.3),
    },
}  # fmt: skip


def points(law: Law, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Inputs of 25 to 140 runs: a curve, or budgets of sizes about the usual ratio of tokens to parameters."""
    count = int(rng.integers(25, 140))
    if law.inputs == ("x",):
        return {"x": np.geomspace(1, 10 ** rng.uniform(2, 5), min(count, 60)) * 10 ** rng.uniform(0, 9)}
    budgets = int(rng.integers(3, 10))
    span = np.geomspace(10 ** rng.uniform(17, 19), 10 ** rng.uniform(20, 22.5), budgets)
    flops = np.repeat(span, -(-count // budgets))
    size = np.sqrt(flops / 120) * np.exp(rng.uniform(-1.5, 1.5, len(flops)))
    columns = {"N": size, "D": flops / 6 / size, "U": flops / 6 / size / np.exp(rng.uniform(0, 4, len(flops)))}
    columns |= {"M": np.exp(rng.uniform(10, 15, len(flops))), "K": np.exp(rng.uniform(7, 11.5, len(flops)))}
    columns |= {"X": 2.0 ** rng.integers(0, 8, len(flops))} if "X" in law.inputs else {}
    columns |= {"P": rng.choice([4.0, 8.0, 16.0, 32.0], len(flops))} if "P" in law.inputs else {}
    return {name: columns[name] for name in law.inputs}


def planted(law: Law, rng: np.random.Generator) -> np.ndarray:
    """Plausible values (1, p) with inputs in units of their mean; the asymptote is 0 in three problems of ten."""
    ranges = RANGES | RANGES_OF.get(law.name, {})
    values = []
    for param in law.free:
        value = rng.uniform(*ranges.get(param.name, (0.2, 1.5) if param.scale != "1" else (0.1, 0.6)))
        values.append(0.0 if param.name in ("E", "C") and rng.random() < 0.3 else float(value))
    return np.array([values])


def clean_losses(law: Law, x: dict[str, np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The losses of a planted law, of parameters at the means of the inputs: those of its form if it has own units."""
    means = {name: np.exp(np.mean(np.log(column))) for name, column in x.items()}
    form = None if law.scaled else law.search_law(list(means.values()))
    if form is not None:
        return form.function.bind(list(x.values())).predict(planted(form, rng))[0]
    keys = law.centred_by or law.inputs
    centred = [x[name] / means[key] for name, key in zip(law.inputs, keys, strict=True)]
    return law.function.bind(centred).predict(planted(law, rng))[0]


def problem(law: Law, seed: int) -> Setup:
    """Losses of a planted law with noise of .06 to 2 %, normal or heavy-tailed."""
    rng = np.random.default_rng([seed, *map(ord, law.name)])
    x = points(law, rng)
    clean = clean_losses(law, x, rng)
    noise = rng.standard_normal(len(clean)) if seed % 2 else rng.standard_t(3, len(clean)) / np.sqrt(3)
    losses = clean * np.exp(10 ** rng.uniform(-3.2, -1.7) * noise)
    name, space = OBJECTIVES[seed % 4]
    return set_up(law, parse_objective(name, space=space), x, losses, np.ones(len(losses)))


def lowest(setup: Setup) -> float:
    """The lowest minimum reached from random starts: half of them with the linear parameters projected out.

    They are starts of the search form where the law's own units make its parameters depend on one another.
    """
    setup = setup if setup.law.scaled else in_search_form(setup, setup.problem) or setup
    rng, box, linear = np.random.default_rng(0), setup.box, setup.problem.bound.function.linear
    theta = np.ones((STARTS, len(setup.law.free)))
    for column, param in enumerate(setup.law.free):
        low, high = max(param.start[0], 1e-4) / 2, param.start[1] * 1.5
        drawn = np.exp(rng.uniform(np.log(low), np.log(high), STARTS))
        theta[:, column] = drawn if param.low >= 0 else rng.uniform(*param.start, STARTS)
    theta = np.clip(theta, box.low, box.high)
    with np.errstate(all="ignore"):
        if linear:
            theta[::2] = project(setup.problem, theta[::2], linear, box, setup.delta)
        theta = theta[np.isfinite(mean_penalties(setup.problem, theta, np.full(STARTS, setup.delta)))]
    wide = np.resize(np.array([0.3, 1.0, 4.0, 30.0]), len(theta)) * residual_scale(setup.problem, theta[0])
    found = minimise(setup.problem, theta, setup.delta, box, initial_delta=wide, tolerance=1e-10, max_steps=200)
    best = np.nanargmin(np.where(np.isfinite(found.value), found.value, np.inf))
    return float(minimise(setup.problem, found.theta[[best]], setup.delta, box, max_steps=2000).value[0])


@pytest.mark.heavy
@pytest.mark.parametrize("seed", range(PROBLEMS))
@pytest.mark.parametrize("name", LAWS)
def test_a_fit_ends_at_the_lowest_minimum_of_many_starts(name: str, seed: int) -> None:
    setup = problem(LAWS[name], seed)
    found = solve(setup)
    value = float(mean_penalties(setup.problem, found.theta[None], np.array([setup.delta]))[0])
    assert value <= lowest(setup) * (1 + 1e-8)
    assert found.verdict.verified or found.verdict.status.startswith("degenerate"), found.verdict.status


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.heavy
def test_a_coupled_law_whose_asymptote_vanishes_is_verified_at_the_bound_of_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = points(LAWS["skaling"], rng)
    truth = {"E": 0.0, "A": 47.0, "B": 25.0, "a": 0.09, "b": 0.68, "k": 0.3}
    centred = {name: column / np.exp(np.mean(np.log(column))) for name, column in x.items()}
    losses = LAWS["skaling"].predict(truth, centred) * np.exp(0.003 * rng.standard_normal(len(x["N"])))
    setup = set_up(LAWS["skaling"], parse_objective("huber:0.001", space="log"), x, losses, np.ones(len(losses)))
    verdict = solve(setup).verdict
    assert verdict.verified, verdict.status
    assert verdict.starts_agreeing >= 3
    if verdict.at_bounds:
        assert "with E at its bound 0 (the data give only an upper bound of E)" in verdict.status
