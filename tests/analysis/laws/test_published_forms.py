"""Laws reproduce the numbers that their papers print, and each is fitted by its name or says what it lacks."""

from __future__ import annotations

import runpy

import numpy as np
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.fitting.derived.allocation import allocate
from sweeplaw.analysis.fitting.solver.objectives import Objective
from sweeplaw.analysis.laws.catalog import ALIASES, INPUT_UNITS, LAWS
from sweeplaw.analysis.laws.law import Law
from sweeplaw.orchestrator.cli.laws import fit as command
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

C4 = {name: float(np.exp(log)) for name, log in (("A", 6.255414), ("B", 7.3049974), ("E", 0.6254804))}
C4 |= {"alpha": 0.3526596, "beta": 0.3526596}
REPEATS = {"RD": 15.387756, "RN": 5.309743}

# Ludziejewski et al. 2025, tables 1, 3 and 4
EXPERTS = {
    "E": 1.3637, "A": 35.91, "alpha": 0.1889, "delta": -0.2285, "gamma": 0.0098, "B": 35.98, "beta": 0.1775,
    "omega": 0.5529, "zeta": -0.0259, "Xstart": 2.0732, "Xmax": 290.4521,
}  # fmt: skip
BY_EXPERTS = {
    1: (30.3640, -0.1817, 53.9838, -0.1965), 2: (27.7982, -0.1780, 66.8401, -0.2065),
    4: (24.8462, -0.1731, 87.7022, -0.2192), 8: (21.8330, -0.1676, 119.9126, -0.2338),
    16: (19.0159, -0.1617, 167.5073, -0.2494), 32: (16.5424, -0.1557, 234.6726, -0.2652),
}  # fmt: skip
OPTIMA = {
    1e20: {1: (1.7e9, 9.7e9), 2: (1.5e9, 11.4e9), 4: (1.2e9, 13.9e9), 8: (990e6, 17e9), 16: (810e6, 20.7e9),
           32: (669e6, 24.9e9)},
    1e21: {1: (5.7e9, 29.3e9), 2: (5e9, 33e9), 4: (4.4e9, 38e9), 8: (3.8e9, 44.3e9), 16: (3.3e9, 51.2e9),
           32: (2.85e9, 58.4e9)},
    1e22: {1: (18.8e9, 88.6e9), 2: (17.4e9, 96e9), 4: (15.8e9, 105.4e9), 8: (14.4e9, 115.8e9), 16: (13.2e9, 126.5e9),
           32: (12.2e9, 136.9e9)},
}  # fmt: skip

# Zhang et al. 2024, their fits of the steps that models of so many million parameters take to a loss, by batch size
BATCHES = 2.0 ** np.arange(6, 15)
STEPS = {
    85: (46000, 23000, 13282, 7000, 3840, 2528, 1917, 1600, 1600),
    151: (96000, 49000, 24000, 12000, 7128, 4350, 2940, 2400, 2300),
    302: (196000, 90000, 46000, 23400, 13300, 7224, 4980, 3400, 2879),
    604: (311000, 166000, 81000, 37440, 21320, 11400, 7199, 4700, 3800),
    1200: (642000, 331000, 176000, 94000, 46500, 25000, 15360, 8900, 6500),
}
FEWEST = {
    85: (1293.8268694659337, 2834258.0888740215), 151: (1752.4211962796799, 5677478.783007255),
    302: (2095.3497601960876, 11383269.891870424), 604: (2459.9274969089824, 19449688.58779496),
    1200: (3897.306597333535, 43381130.22429582),
}  # fmt: skip
CRITICAL = {85: 745.3201, 151: 955.1582, 302: 1393.7269, 604: 1888.5221, 1200: 2533.4108}


def farseer(size: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Li et al. 2025 (arXiv 2506.10972), eq. 15, in bits a character."""
    size, tokens = np.asarray(size, dtype=float), np.asarray(tokens, dtype=float)
    floor = np.exp(-0.021 * size**0.169 - 0.091)
    return floor + np.exp(88.01 * size**-0.1 - 6.287) * tokens ** -np.exp(-0.124 * size**0.123 + 0.424)


def farseer_params() -> dict[str, float]:
    """The constants of eq. 15 as the values at 1e9 parameters and 1e10 tokens, and their log-slopes."""
    (floor, p, u), (coefficient, q, v), (beta, r, w) = (
        (float(np.exp(a * 1e9**bend + b)), a * bend * 1e9**bend, bend)
        for a, bend, b in ((-0.021, 0.169, -0.091), (88.01, -0.1, -6.287), (-0.124, 0.123, 0.424))
    )
    term = {"B": coefficient * 1e10**-beta, "q": q - beta * r * float(np.log(1e10)), "v": v}
    return {"E": floor, "p": p, "u": u, "beta": beta, "r": r, "w": w} | term


def optimum(law: Law, params: dict[str, float], flops: float, **others: float) -> tuple[float, float]:
    """The N and D of least loss with 6 N D = ``flops``, among sizes .1 % apart and no larger than the papers'."""
    size = np.geomspace(1e8, 2.51e10, 5526)
    at = {"N": size, "D": flops / 6 / size} | {name: np.full(size.size, value) for name, value in others.items()}
    best = int(np.argmin(law.predict(params, at)))
    return float(at["N"][best]), float(at["D"][best])


def test_repeated_data_has_the_losses_and_the_allocation_that_its_authors_print() -> None:
    law = LAWS["data_constrained"]
    printed = law.predict(C4 | REPEATS, {"N": [6.34e9, 8.67e9], "D": [242e9, 178e9], "U": 25e9})
    assert printed == pytest.approx([2.2256440889984477, 2.2269634075087867], rel=1e-14)
    size = np.geomspace(1e9, 1e11, 4001)
    tokens = 1e22 / 6 / size
    losses = law.predict(C4 | REPEATS, {"N": size, "D": tokens, "U": np.minimum(tokens, 25e9)})
    assert size[losses.argmin()] == pytest.approx(7022364735.879969, rel=0.004)  # the step of their grid
    assert tokens[losses.argmin()] / 25e9 == pytest.approx(9.49347821910203, rel=0.004)


@pytest.mark.heavy
def test_a_penalty_of_overfitting_describes_repeated_data_better_than_effective_data(repeated_data) -> None:
    objective = Objective("huber", 1e-3, "log", "sum")  # Lovelace et al. 2026: on these runs too
    for fixed in (C4, None):
        penalty, effective = (
            analysis.fit(repeated_data, name, objective, y="loss", fixed=fixed)
            for name in ("overfitting", "data_constrained")
        )
        assert penalty.verified, penalty.status
        assert penalty.value < 0.8 * effective.value


def test_the_penalty_of_overfitting_is_none_in_the_first_epoch_and_grows_with_size_over_unique_tokens() -> None:
    params = C4 | {"P": 0.02, "delta": 0.7, "kappa": 0.5}
    size, unique = np.array([1e8, 1e9]), np.array([3e9, 7e9])
    once = LAWS["overfitting"].predict(params, {"N": size, "D": unique, "U": unique})
    assert once == pytest.approx(LAWS["additive"].predict(C4, {"N": size, "D": unique}), rel=1e-12)
    more = LAWS["overfitting"].predict(params, {"N": size, "D": 5 * unique, "U": unique})
    plain = LAWS["additive"].predict(C4, {"N": size, "D": 5 * unique})
    assert more - plain == pytest.approx(0.02 * 4**0.7 * (size / unique) ** 0.5, rel=1e-6)


@pytest.mark.parametrize("size", STEPS)
def test_steps_to_a_loss_have_the_constants_and_the_critical_batch_of_their_authors(size: int) -> None:
    fit = analysis.fit({"M": BATCHES, "steps": STEPS[size]}, "steps_to_loss", "ls", x="M", y="steps")
    assert fit.verified, fit.status
    fewest, examples = fit.params["Kmin"], fit.params["Kmin"] * fit.params["Mcrit"]
    assert (fewest, examples) == pytest.approx(FEWEST[size], rel=1e-6)
    assert examples / (5 * fewest) + 1.2 * 256 == pytest.approx(CRITICAL[size], rel=1e-6)  # 20 % over linear


def test_the_critical_batch_is_the_published_power_of_the_size() -> None:
    table = {"size": list(CRITICAL), "batch": list(CRITICAL.values())}
    fit = analysis.fit(table, "power", "ls", x="size", y="batch", bounds={"alpha": (-5.0, None)})
    assert fit.verified, fit.status
    assert fit.params == pytest.approx({"A": 93.196814043949, "alpha": -0.4682782328130422}, rel=1e-5)


def test_steps_and_examples_to_a_loss_lie_on_the_hyperbola() -> None:
    params, batch = {"Kmin": 2000.0, "Mcrit": 5e5}, np.geomspace(1e4, 1e8, 9)
    steps = LAWS["steps_to_loss"].predict(params, {"M": batch})
    assert (steps / 2000 - 1) * (steps * batch / (2000 * 5e5) - 1) == pytest.approx(np.ones(9), rel=1e-9)
    assert LAWS["steps_to_loss"].predict(params, {"M": 5e5}) == pytest.approx([4000.0])


def test_runs_of_one_loss_lie_on_the_hyperbola_in_the_law_with_a_critical_batch() -> None:
    params = {"E": 1.7, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28, "M0": 4e5, "c": 0.0}
    batch = np.geomspace(1e4, 1e7, 7)
    tokens = 2e10 * (1 + batch / 4e5)
    losses = LAWS["critical_batch"].predict(params, {"N": 1e9, "D": tokens, "M": batch})
    small = LAWS["additive"].predict({name: params[name] for name in LAWS["additive"].names}, {"N": 1e9, "D": 2e10})
    assert losses == pytest.approx(np.full(7, small[0]), rel=1e-12)


@pytest.mark.parametrize("experts", BY_EXPERTS)
def test_experts_of_one_number_have_the_published_law_of_size_and_tokens(experts: int) -> None:
    m, mu, n, nu = BY_EXPERTS[experts]
    size, tokens = np.array([1e8, 1e9, 1e10]), np.array([1e10, 3e10, 1e11])
    found = LAWS["mixture_of_experts"].predict(EXPERTS, {"N": size, "D": tokens, "X": experts})
    assert found == pytest.approx(m * size**mu + n * tokens**nu + 1.3637, rel=6e-4)  # four digits of exponents


@pytest.mark.parametrize("flops", OPTIMA)
def test_experts_have_the_published_allocations_of_compute(flops: float) -> None:
    for experts, printed in OPTIMA[flops].items():
        found = optimum(LAWS["mixture_of_experts"], EXPERTS, flops, X=experts)
        assert found == pytest.approx(printed, rel=0.025)  # two or three digits are printed


def test_farseer_by_its_values_at_a_billion_parameters_is_the_published_formula() -> None:
    size, tokens = np.meshgrid(np.geomspace(2e8, 2.5e10, 7), np.geomspace(1e9, 3e12, 7))
    found = LAWS["farseer"].predict(farseer_params(), {"N": size.ravel(), "D": tokens.ravel()})
    assert found == pytest.approx(farseer(size, tokens).ravel(), rel=1e-10)


def test_farseer_wants_more_tokens_a_parameter_of_more_compute_as_published() -> None:
    ratios = []
    for flops in (1e20, 1e21, 1e22):
        size, tokens = optimum(LAWS["farseer"], farseer_params(), flops)
        ratios.append(tokens / size)
    assert 10 < ratios[0] < 30  # about Chinchilla's 20 at 1e20 to 1e21 FLOPs
    assert 10 < ratios[1] < 30
    assert ratios[0] < ratios[1] < ratios[2]


@pytest.mark.heavy
def test_an_allocation_by_farseer_is_the_optimum_near_the_runs_not_the_one_at_absurd_sizes() -> None:
    """Its formula falls again beyond some 1e11 parameters; with 1e22 FLOPs its least loss of all is at one token."""
    size, tokens = (column.ravel() for column in np.meshgrid(np.geomspace(2e8, 8e9, 8), np.geomspace(2e9, 4e11, 8)))
    noise = np.exp(0.001 * np.random.default_rng(0).normal(size=size.size))
    fit = analysis.fit({"N": size, "D": tokens, "loss": farseer(size, tokens) * noise}, "farseer", y="loss")
    for flops in (1e21, 1e22):
        true, _ = optimum(LAWS["farseer"], farseer_params(), flops)
        found = allocate(fit, flops)
        assert found.params == pytest.approx(true, rel=0.15)
        assert found.intervals["params"].low <= true <= found.intervals["params"].high


@pytest.mark.parametrize("name", [*LAWS, *ALIASES])
def test_a_law_without_its_columns_names_each_of_them(name: str) -> None:
    law = LAWS[ALIASES.get(name, name)]
    with pytest.raises(InputError) as caught:
        analysis.fit({"other": [1.0, 2.0, 3.0], "loss": [3.0, 2.5, 2.2]}, name, y="loss")
    assert all(f"which column is {item}? Give --x {item}=COLUMN" in str(caught.value) for item in law.inputs)
    assert set(law.inputs) <= {*INPUT_UNITS, "x"}


def test_the_help_of_fit_and_the_page_of_laws_name_every_law() -> None:
    assert command.fit.__doc__
    listed = command.fit.__doc__.split("Laws: ")[1].split(" or a formula")[0].replace("\n", " ")
    assert [name.strip() for name in listed.rstrip(", ").split(",")] == list(LAWS)
    made = runpy.run_path(str(ROOT / "docs" / "laws.py"))["page"]()
    assert (ROOT / "docs" / "laws.md").read_text(encoding="utf-8") == made, "run: python docs/laws.py"
