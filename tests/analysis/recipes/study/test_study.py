"""Studies of planted recipes: exact without noise, covered at the nominal rate with it, and refused where they must."""

from __future__ import annotations

import json
from itertools import combinations

import numpy as np
import polars as pl
import pytest

from sweeplaw import analysis
from sweeplaw.analysis.recipes.limits.levels import RecipeLimits
from sweeplaw.analysis.recipes.limits.limit import limit_interval
from sweeplaw.analysis.recipes.study.compute import costs
from sweeplaw.analysis.recipes.study.study import RecipeStudy, recipe_limits
from sweeplaw.trials.errors import InputError
from tests.analysis.recipes.study.planted import (
    BUDGETS,
    JOINT,
    MEMBERS,
    REGULARIZED,
    SIZES,
    STANDARD,
    effective,
    known,
    law,
    runs,
)

pytestmark = pytest.mark.heavy  # half a second a test, or many of them


def faults(source, **options) -> str:
    """Return the message of the refusal."""
    with pytest.raises(InputError) as caught:
        recipe_limits(source, **options)
    return caught.value.render()


def ends(study: RecipeStudy, recipe: RecipeLimits, u: float):
    """Return the interval of what a recipe reaches."""
    reached = known(recipe.at(u))
    return known(limit_interval(reached.values, study.scenarios, study.level, reached.noise))


def test_limits_laws_and_multiples_are_exact_without_noise():
    study = analysis.recipe_limits(runs(), draws=0)
    assert {name: recipe.axes for name, recipe in study.recipes.items()} == {
        "standard": (), "regularized": ("N",), "joint": ("K", "N"),
    }  # fmt: skip
    for name, params in (("standard", STANDARD), ("regularized", REGULARIZED), ("joint", JOINT)):
        recipe = study.recipes[name]
        assert [one.value for one in recipe.reached] == pytest.approx([law(params, u) for u in BUDGETS], abs=1e-6)
        assert known(recipe.law).value == pytest.approx(params[0], abs=1e-4)
    joint = study.recipes["joint"]
    assert [one.value for one in joint.chosen if one.at["U"] == 2e8] == pytest.approx(
        [law(JOINT, 2e8) + 0.02 / (n / 1e9) ** 1.3 for n in SIZES], abs=1e-6
    )
    for one in study.multiples:
        if one.recipe != "standard":
            expected = effective(one.loss) / effective(law(STANDARD, one.u))
            assert one.value == pytest.approx(expected, rel=1e-3)
    assert "unknown" in study.summary()  # three digits of nothing are not an interval


def test_laws_of_one_exponent_and_floor_have_one_multiple_at_every_u():
    study = recipe_limits(runs(), draws=0)
    double = [one.value for one in study.multiples if (one.recipe, one.what) == ("joint", "limit in N")]
    assert double == pytest.approx([(STANDARD[1] / JOINT[1]) ** (1 / 0.24)] * 4, rel=1e-3)


def test_the_nested_recipe_and_all_its_levels_are_in_the_json():
    study = recipe_limits(runs(0.001, 2), draws=50)
    values = json.loads(json.dumps(study.to_dict()))
    assert len(values["recipes"]["joint"]["K"]) == 16
    assert len(values["recipes"]["joint"]["N"]) == 4
    assert values["recipes"]["joint"]["U"]["params"].keys() == {"C", "A", "alpha"}
    assert {one["recipe"] for one in values["multiples"]} == {"standard", "regularized", "joint"}
    for heading in ("What each recipe reaches", "Laws C + A x^-alpha", "Sensitivity", "Compute"):
        assert heading in study.summary()


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.0005, 0.002])
def test_planted_limits_and_multiples_are_covered_at_the_nominal_rate(noise):
    hits: dict[str, list[bool]] = {}
    for seed in range(40):
        study = recipe_limits(runs(noise, 2, seed), draws=200, seed=seed + 1000)
        for name, params in (("regularized", REGULARIZED), ("joint", JOINT)):
            for u in BUDGETS:
                found = ends(study, study.recipes[name], u)
                hits.setdefault(name, []).append(found.low <= law(params, u) <= found.high)
        for one in study.recipes["joint"].chosen:
            found = known(one.interval(study.scenarios, 0.95))
            truth = law(JOINT, one.at["U"]) + 0.02 / (one.at["N"] / 1e9) ** 1.3
            hits.setdefault("K", []).append(found.low <= truth <= found.high)
        for worth in study.multiples:
            if worth.what == "limit in N":
                params = JOINT if worth.recipe == "joint" else REGULARIZED
                truth = effective(law(params, worth.u)) / effective(law(STANDARD, worth.u))
                found = known(worth.interval(study.scenarios, 0.95))
                hits.setdefault("multiple", []).append(found.low <= truth <= found.high)
    rates = {name: float(np.mean(one)) for name, one in hits.items()}
    assert all(0.90 <= rate <= 0.985 for rate in rates.values()), rates


@pytest.mark.heavy
def test_errors_grow_up_the_levels_and_none_is_a_plug_in():
    study = recipe_limits(runs(0.001, 3), draws=300)
    joint = study.recipes["joint"]
    intervals = [
        known(known(one).interval(study.scenarios, 0.95)) for one in (joint.chosen[0], joint.sizes[0], joint.law)
    ]
    widths = [one.high - one.low for one in intervals]
    assert widths[0] > 4 * 0.001 / 3**0.5  # of the mean of three runs
    assert widths[0] < widths[2]
    single = known(study.recipes["regularized"].sizes[0].interval(study.scenarios, 0.95))
    assert np.ptp([single.low, single.high]) < widths[1]  # the double limit carries the errors of the limits in K


@pytest.mark.heavy
@pytest.mark.parametrize(("axis", "value"), [("N", SIZES[0]), ("N", SIZES[3]), ("K", 1.0), ("K", 5.0)])
def test_leaving_a_point_out_is_the_study_without_it(axis, value):
    table = runs(0.0003, 1, 3).filter(pl.col("recipe") == "joint")
    study = recipe_limits(table, noise=0.0003, draws=0)
    other = recipe_limits(table.filter(pl.col(axis) != value), noise=0.0003, draws=0).recipes["joint"]
    changes = {
        one.u: one.value for one in study.sensitivity if (one.axis, one.without, one.quantity) == (axis, value, "loss")
    }
    assert changes.keys() == set(BUDGETS)
    for u in BUDGETS:
        reached = other.at(u)
        assert changes[u] == (None if reached is None else pytest.approx(reached.value, abs=1e-5))


def test_a_multiple_below_the_standard_limit_is_infinite_in_words():
    table = runs()
    low = pl.DataFrame({"recipe": ["magic"], "N": [1e9], "U": [2e8], "K": [1], "loss": [1.5], "seed": [0]})
    study = recipe_limits(pl.concat([table, low], how="vertical_relaxed"), draws=0)
    (one,) = [one for one in study.multiples if one.recipe == "magic"]
    assert one.value == np.inf
    assert "worth infinite of the data" in "\n".join(study.headline())
    values = next(one for one in study.to_dict()["multiples"] if one["recipe"] == "magic")
    assert values["multiple"] is None
    assert values["infinite"]


def test_subsets_of_members_give_the_means_and_their_errors():
    rng = np.random.default_rng(0)
    rows = []
    for n in SIZES:
        effects = 0.005 * rng.standard_normal(5)
        for k in range(1, 6):
            for chosen in combinations(range(5), k):
                loss = 3.2 + 0.02 / (n / 1e9) ** 1.3 + 0.25 / k + effects[list(chosen)].mean()
                rows.append(("ensemble", n, 2e8, k, loss, ",".join(map(str, chosen))))
    table = pl.DataFrame(rows, schema=["recipe", "N", "U", "K", "loss", "subset"], orient="row")
    study = recipe_limits(table, draws=400)
    recipe = study.recipes["ensemble"]
    assert {one.noise for one in recipe.chosen} == {"members"}
    found = known(recipe.chosen[0].interval(study.scenarios, 0.95))
    shared = 2 * 2.78 * 0.005 / 5**0.5  # t of 4: errors that members share move a limit as much as a mean
    assert np.ptp([found.low, found.high]) == pytest.approx(shared, rel=0.7)
    reached = ends(study, recipe, 2e8)
    assert reached.low < 3.2 < reached.high


def test_settings_are_picked_by_their_limit_and_by_the_other_half_if_there_is_one():
    rows = [
        ("e", n, 2e8, k, 3.0 + 0.1 / n + gap + drop / k, 3.0 + other, epochs)
        for n in (1.0, 2.0, 3.0)
        for k in (1, 2, 3, 4)
        for epochs, gap, drop, other in ((8, 0.1, 0.2, 0.0 + 1 / k), (16, 0.0, 0.5, 0.3 + 1 / k))
    ]
    table = pl.DataFrame(rows, schema=["recipe", "N", "U", "K", "loss", "half", "epochs"], orient="row")
    by_limit = recipe_limits(table, draws=0).recipes["e"]
    assert {one.at["epochs"] for one in by_limit.chosen} == {16}  # 8 is better at K = 1
    assert next(one for one in by_limit.models if one.k == 1).setting == {"epochs": 8}
    by_half = recipe_limits(table, draws=0, columns={"pick": "half"}).recipes["e"]
    assert {one.at["epochs"] for one in by_half.chosen} == {8}


@pytest.mark.heavy
def test_compute_is_that_of_the_best_model_and_of_all_runs():
    table = runs().with_columns(flops=6 * pl.col("N") * pl.col("U") * pl.col("K"))
    found = {(one.recipe, one.u): one for one in costs(recipe_limits(table, draws=0))}
    best = found["joint", 2e8]
    assert (best.n, best.k) == (SIZES[-1], 5)
    assert best.training == pytest.approx(6 * SIZES[-1] * 2e8 * 5)
    assert best.inference == pytest.approx(2 * SIZES[-1] * 5)
    assert best.tuning == pytest.approx(6 * sum(SIZES) * 2e8 * 15)
    taught = table.with_columns(teacher_flops=pl.when(pl.col("recipe") == "joint").then(1e30))
    (student,) = (one for one in costs(recipe_limits(taught, draws=0)) if (one.recipe, one.u) == ("joint", 2e8))
    assert student.training == pytest.approx(6 * SIZES[-1] * 2e8 * 5 + 1e30)
    assert student.tuning == best.tuning
    unknown = costs(recipe_limits(runs(), draws=0))
    assert all(one.training is None and one.tuning is None and not one.estimated for one in unknown)
    assert not any(one.estimated for one in found.values())


@pytest.mark.heavy
def test_compute_that_was_not_recorded_is_estimated_from_the_epochs():
    study = recipe_limits(runs().with_columns(epochs=pl.lit(4.0)), draws=0, knobs=["epochs"])
    best = next(one for one in costs(study) if (one.recipe, one.u) == ("joint", 2e8))
    assert best.estimated
    assert best.training == pytest.approx(6 * best.n * 4 * 2e8 * best.k)
    assert best.tuning == pytest.approx(6 * sum(SIZES) * 4 * 2e8 * 15)
    assert "FLOPs of" in study.summary()


@pytest.mark.heavy
def test_compute_of_a_plain_table_is_estimated_from_its_tokens_and_what_is_unknown_is_said_once():
    plain = runs().with_columns(D=2 * pl.col("U"))
    study = recipe_limits(plain, draws=0)
    best = next(one for one in costs(study) if (one.recipe, one.u) == ("joint", 2e8))
    assert best.estimated
    assert best.training == pytest.approx(6 * best.n * 4e8 * best.k)
    unknown = recipe_limits(runs(), draws=0)
    assert unknown.summary().count("are unknown: no flops, and neither tokens trained on nor epochs") == 1
    as_u = recipe_limits(runs().rename({"U": "D"}), draws=0, columns={"U": "D"})
    assert all(one.training is None for one in costs(as_u))  # the user says that D is U, and no epochs are known


def test_losses_on_different_validation_sets_are_refused():
    table = runs().with_columns(
        validation=pl.when(pl.col("recipe") == "joint").then(pl.lit("b")).otherwise(pl.lit("a"))
    )
    message = faults(table)
    assert "different validation sets" in message
    assert "joint: b" in message
    assert "standard: a" in message
    assert recipe_limits(table, columns={"validation": "none"}, draws=0).recipes.keys() == {
        "standard", "regularized", "joint",
    }  # fmt: skip


def test_a_validation_set_is_that_of_the_corpus_it_is_taken_from():
    own = {"corpus": "b", "tokenizer": "bytes", "context": 8, "validation_tokens": 64}
    student = runs().with_columns(**{name: pl.lit(value) for name, value in own.items()})
    elsewhere = pl.when(pl.col("recipe") == "joint").then(pl.lit("")).otherwise(pl.lit("b"))
    trained = pl.when(pl.col("recipe") == "joint").then(pl.lit("b")).otherwise(pl.lit("a"))
    recipe_limits(student.with_columns(corpus=trained, validation_corpus=elsewhere), draws=0)
    assert "different validation sets" in faults(student.with_columns(corpus=trained))


def test_the_held_out_tokens_of_our_own_trials_are_their_validation_set():
    own = {"corpus": "stdlib", "tokenizer": "bytes", "context": 128}
    table = runs().with_columns(
        *(pl.lit(value).alias(name) for name, value in own.items()),
        validation_tokens=pl.when(pl.col("recipe") == "joint").then(4096).otherwise(8192),
    )
    assert "validation_tokens = 4096" in faults(table)


@pytest.mark.heavy
def test_one_member_where_a_limit_is_asked_says_which_there_are():
    message = faults(runs(members=(1,)), limits={"joint": ("K", "N")})
    assert message.startswith("joint: no limit in K at 16 places (N=150M, U=200M; ")
    assert message.endswith("): K = 1: a limit takes 3 of K or more")
    assert "K" not in recipe_limits(runs(members=(1,)), draws=0).recipes["joint"].axes
    assert "K = 1, 2:" in faults(runs(members=(1, 2)), limits={"joint": ("K",)})


def test_a_study_without_the_standard_recipe_says_so():
    study = recipe_limits(runs().filter(pl.col("recipe") != "standard"), draws=0)
    assert study.multiples == ()
    assert study.notes[0].startswith("no recipe 'standard'")
    few = recipe_limits(runs().filter(pl.col("U") < 5e8), draws=0)
    assert any(note.startswith("no law of the recipe 'standard' over U") for note in few.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"size": "N"}}, "'size' is no role"),
        ({"columns": {"N": "hidden"}}, "hidden"),
        ({"limits": {"jiont": ("K",)}}, "did you mean 'joint'"),
        ({"limits": {"joint": ("U",)}}, "(accepted: K, N)"),
        ({"noise": -1}, "noise = -1"),
        ({"noise": 1e308}, "noise = 1e+308 (accepted: a standard deviation in nats, 0 to 1e+150)"),
        ({"draws": 1.5}, "draws = 1.5"),
        ({"level": 2}, "level = 2"),
        ({"knobs": ["depth"]}, "depth"),
    ],
)
def test_bad_input_is_refused_with_what_is_accepted(options, message):
    assert message in faults(runs(), **options)


def test_tables_that_are_none_are_refused():
    assert "no column for N" in faults({"loss": [1.0]})
    assert "300X" in faults({"N": ["300X"], "U": [1.0], "loss": [2.0]})
    assert "U = -1" in faults({"N": [1.0], "U": [-1.0], "loss": [2.0]})
    assert "no run has all of" in faults({"N": [1.0], "U": [1.0], "loss": [float("nan")]})


def test_sources_by_name_are_recipes():
    table = runs().drop("recipe")
    parts = {name: table.filter(runs()["recipe"] == name) for name in ("standard", "joint")}
    assert recipe_limits(parts, draws=0).recipes.keys() == {"standard", "joint"}


def test_a_trial_of_an_ensemble_has_the_losses_of_its_smaller_ones():
    rows = [
        {"sweep": "ensemble", "params_non_embedding": n, "unique_tokens": 2e8, "members": 4, "flops": 400.0,
         "seed": 4 * s, "val_loss": 3.25, **{f"ensemble_loss_{k}": 3 + 1e7 / n + 1 / k for k in (1, 2, 3, 4)}}
        for n in (1e7, 2e7, 4e7) for s in (0, 1)
    ]  # fmt: skip
    single = {"sweep": "single", "params_non_embedding": 1e7, "unique_tokens": 2e8, "members": 1, "seed": 0,
              "flops": 90.0, "val_loss": 5.0}  # fmt: skip
    study = recipe_limits(pl.DataFrame([*rows, single]), draws=0)
    recipe = study.recipes["ensemble"]
    assert recipe.reached[0].value == pytest.approx(3.0, abs=1e-6)
    assert [one.value for one in recipe.chosen] == pytest.approx([4.0, 3.5, 3.25], abs=1e-6)
    assert next(one.flops for one in recipe.models if one.k == 3) == 300
    assert [one.tuning for one in costs(study) if one.recipe == "ensemble"] == [6 * 400.0]  # six trials of four members
    assert study.recipes["single"].reached[0].value == 5.0


@pytest.mark.heavy
def test_limits_of_trials_of_ensembles_are_covered_by_the_error_that_their_members_share():
    hits, exact, widths = [], [], []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        rows = []
        for n in (1e7, 2e7, 4e7, 8e7):
            shift = 0.01 * rng.standard_normal(5).mean()  # what the members of a trial add to every mean over subsets
            exact.append(abs(shift) < 1.96 * 0.01 / 5**0.5)
            losses = {
                f"ensemble_loss_{k}": 3 + 1e6 / n + 0.25 / k + shift + 2e-4 * rng.standard_normal() for k in MEMBERS
            }
            rows.append({"sweep": "e", "params_non_embedding": n, "unique_tokens": 2e8, "members": 5, "seed": 0,
                         "val_loss": losses["ensemble_loss_5"], **losses})  # fmt: skip
        study = recipe_limits(pl.DataFrame(rows), noise=0.01, draws=200, seed=seed + 1000)
        for one in study.recipes["e"].chosen:
            found = known(one.interval(study.scenarios, 0.95))
            hits.append(found.low <= 3 + 1e6 / one.at["N"] <= found.high)
            widths.append(found.high - found.low)
    assert np.mean(hits) == pytest.approx(np.mean(exact), abs=0.03)  # of the same shifts, by their known deviation
    assert np.median(widths) < 5 * 0.01 / 5**0.5  # about four standard errors of the mean of the members
