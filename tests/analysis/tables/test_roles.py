"""Which columns of a table are tuned knobs, which split its runs into families, and which are neither."""

from __future__ import annotations

import itertools
import json

import polars as pl
import pytest

from sweeplaw.analysis.tables.roles.budgets import with_planned_tokens
from sweeplaw.analysis.tables.roles.families import condition_of, name_of, require_one_family, split
from sweeplaw.analysis.tables.roles.recorded import recorded
from sweeplaw.analysis.tables.roles.roles import roles
from sweeplaw.analysis.tables.sql.expressions import condition
from sweeplaw.trials.errors import InputError
from tests.paths import SHARED

POINTS = list(itertools.product((1e6, 1e7, 1e8), (1e8, 1e9)))


def grid(**columns: tuple[object, ...]) -> pl.DataFrame:
    """Return every combination of the columns at every point, with ids, times and results of each run."""
    rows = [
        {"N": n, "D": d, **dict(zip(columns, values, strict=True))}
        for n, d in POINTS
        for values in itertools.product(*columns.values())
    ]
    frame = pl.DataFrame(rows).with_row_index("number")
    loss = 2 + 400 / frame["N"] ** 0.3 + 0.001 * (frame["number"] * 7919 % 31)
    return frame.with_columns(
        val_loss=loss,
        smooth_loss=loss * 0.99,
        accuracy=(1 / loss).round(2),
        flops=6 * frame["N"] * frame["D"],
        seconds=frame["number"] * 13 % 17 + 0.5,
        run=pl.format("run-{}", pl.col("number")),
        host=pl.format("n{}", pl.col("number") % 3),
        team=pl.format("t{}", pl.col("number") % 3),
    ).drop("number")


def of(frame: pl.DataFrame, keys=("N", "D"), **options):
    return roles(frame, (), keys, ["val_loss"], **options)


@pytest.mark.parametrize(
    "name", ["lr", "learning_rate", "optim.lr", "Batch-Size", "wd", "peak_lr", "warmup_steps", "their_lr"]
)
def test_a_hyperparameter_is_known_by_its_name(name):
    frame = grid(**{name: (1, 2, 3)})
    assert of(frame).knobs == (name,)
    random = frame.with_columns(pl.Series(name, [1 + 0.1 * row for row in range(frame.height)]))  # of a random search
    assert of(random).knobs == (name,)


def test_a_number_of_few_values_at_most_points_is_a_knob_and_ids_times_and_results_are_not():
    found = of(grid(gamma=(0.1, 0.2), seed=(0, 1, 2)))
    assert (found.knobs, found.families) == (("gamma",), ())
    assert found.notes == (
        "runs at one point also differ in team, which is taken neither as a knob nor as a recipe "
        "(--knobs names the knobs, --where selects rows)",
    )


@pytest.mark.parametrize("name", ["batch_size_tokens", "tokens_per_batch", "warmup_iters", "decay_steps_share"])
def test_a_hyperparameter_counted_in_tokens_or_steps_is_no_result(name):
    assert of(grid(**{name: (1, 2, 4), "seed": (0, 1)})).knobs == (name,)


def test_replicates_have_no_knob_whatever_their_seed_is_called():
    for name in ("seed", "data_seed", "rep", "replicate"):
        assert of(grid(**{name: (0, 1, 2, 3)})).knobs == ()


def test_a_column_that_follows_from_a_knob_is_no_second_knob():
    grown = {"batch_tokens": pl.col("bs") * 1024, "steps": pl.col("D") / pl.col("bs")}
    frame = grid(lr=(0.1, 0.2), bs=(32, 64)).with_columns(**grown)
    assert len(of(frame).knobs) == 2
    assert set(of(frame).knobs) == {"lr", "batch_tokens"}


def test_a_recipe_splits_a_table_and_can_be_named_as_a_knob():
    frame = grid(lr=(0.1, 0.2), schedule=("cosine", "wsd"))
    assert (of(frame).knobs, of(frame).families) == (("lr",), ("schedule",))
    named = of(frame, knobs=["lr", "schedule"])
    assert (named.knobs, named.families) == (("lr", "schedule"), ())
    assert of(frame, knobs=["schedule"]).notes == (
        "runs of one setting differ in lr, not named as knobs: they are averaged like seeds",
    )


def test_recipes_that_were_tuned_over_values_of_their_own_are_recipes_all_the_same():
    frame = grid(lr=(0.1, 0.2, 0.3, 0.4))
    frame = frame.with_columns(optimizer=pl.when(pl.col("lr") > 0.25).then(pl.lit("muon")).otherwise(pl.lit("adamw")))
    assert (of(frame).knobs, of(frame).families) == (("lr",), ("optimizer",))


def test_what_an_input_of_the_law_is_has_no_other_role():
    frame = grid(lr=(0.1, 0.2))
    assert of(frame, ("N", "D", "lr")).knobs == ()


@pytest.mark.parametrize(
    ("file", "keys", "knobs"),
    [
        ("step_law_dense", ("N", "D"), ("lr", "bs")),
        ("isoflops", ("params", "tokens"), ()),
        ("chinchilla_figure4", ("Model Size", "Training FLOP"), ()),
        ("data_constrained_182", ("params_B", "tokens_B", "unique_B"), ()),
        ("infinite_compute_losses", ("N", "D"), ("lr", "epochs", "wd")),
    ],
)
def test_the_knobs_of_published_tables_are_found(file, keys, knobs):
    path = SHARED / f"{file}.csv"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    found = roles(pl.read_csv(path, infer_schema_length=None), (), keys, ["loss"])
    assert found.knobs == knobs
    assert found.families == {"infinite_compute_losses": ("recipe",), "isoflops": ("dataset",)}.get(file, ())


def launch(**facts):
    return {"workload": "w", "scientific": ["N", "D"], "nuisance": ["lr"], "derived": {}, **facts}


def test_a_knob_that_two_launches_fix_differently_splits_also_where_their_points_do_not_meet():
    frame = grid(lr=(0.1, 0.2)).with_columns(
        launch_id=pl.lit("a"),
        source=pl.lit(None, pl.String),
        context=pl.when(pl.col("N") > 5e7).then(2048).otherwise(512),
    )
    same = roles(frame, [launch(fixed={"corpus": "c"}), launch(fixed={"corpus": "c"})], ["N", "D"], ["val_loss"])
    assert (same.knobs, same.families) == (("lr",), ())
    other = roles(frame, [launch(fixed={"context": 512}), launch(fixed={"context": 2048})], ["N", "D"], ["val_loss"])
    assert other.families == ("context",)
    first = frame.filter(pl.col("context") == 512)
    assert roles(first, [launch(fixed={"context": n}) for n in (512, 2048)], ["N", "D"], ["val_loss"]).families == ()


def test_a_sweep_that_fixes_the_shape_of_one_trial_leaves_the_models_of_a_sweep_of_sizes_together():
    """As `refine-schedule` and `show --sweep` write them."""
    frame = grid(lr=(0.1, 0.2)).with_columns(
        launch_id=pl.lit("a"), source=pl.lit(None, pl.String), width=pl.col("N").cast(pl.Int64), heads=pl.lit(2)
    )
    sizes, one = launch(scientific=["params_non_embedding", "D"]), launch(fixed={"width": 16, "heads": 2})
    assert roles(frame, [sizes, one], ["N", "D"], ["val_loss"]).families == ()
    assert roles(frame, [launch(), one], ["N", "D"], ["val_loss"]).families == ("width",)
    assert recorded([sizes, one, launch(fixed={"context": 64})]).fixed == ("context",)


def exported(**sweeps: dict[str, object]) -> pl.DataFrame:
    """Return trials of several sweeps as an export has them: no launches, but the spec and the sweep of each."""
    parts = []
    for number, (sweep, fixed) in enumerate(sweeps.items()):
        part = grid(lr=(0.1, 0.2, 0.4)).with_columns(**{name: pl.lit(value) for name, value in fixed.items()})
        spec = json.dumps({"knobs": {"lr": 0, **fixed, "seed": 0}})
        facts = {"sweep": sweep, "spec": spec, "workload": "w", "source": None, "launch_id": f"l{number}"}
        part = part.with_columns(**{name: pl.lit(value, pl.String) for name, value in facts.items()})
        parts.append(part.with_columns(trial_id=pl.format(f"{number}-{{}}", pl.int_range(pl.len()))))
    return pl.concat(parts)


def test_an_exported_store_splits_by_what_its_sweeps_fixed():
    both = exported(a={"context": 512, "depth": 2}, b={"context": 1024, "depth": 2})
    assert of(both).families == ("context",)
    assert of(both).knobs == ("lr",)
    apart = both.filter((pl.col("sweep") == "a") == (pl.col("N") > 2e6))  # no point of both
    assert of(apart).families == ("context",)
    assert of(exported(a={"context": 512}, b={"context": 512})).families == ()
    assert of(both.filter(pl.col("sweep") == "a")).families == ()


def test_an_exported_store_keeps_imported_runs_apart():
    both = exported(a={"context": 512}, b={"context": 512})
    mixed = both.with_columns(source=pl.when(pl.col("sweep") == "b").then(pl.lit("runs.csv")))
    assert of(mixed).families == ("source",)


def test_what_an_earlier_version_fixed_is_read_from_its_sweep_file():
    old = [launch(sweep_file=f"[fixed]\ncontext = {size}\nseed = {size}\nlr = {size}\n") for size in (512, 2048)]
    assert recorded(old).fixed == ("context",)  # not the seed, nor a knob that a launch tuned
    for odd in ("not toml [", "a = " + "[" * 5000, "a = " + "9" * 5000, 3):
        assert recorded([*old[:1], launch(sweep_file=odd)]).fixed == ("context",)


def test_a_family_of_a_long_text_or_of_none_is_listed_in_a_few_words():
    assert name_of({"points": "", "lr": None, "epochs": 1.0}) == "points = '', lr = unknown, epochs = 1.0"
    frame = pl.DataFrame({"points": ["", "0: 1, " * 50]})
    with pytest.raises(InputError) as caught:
        require_one_family(frame, ["points"])
    assert "  - points = 0: 1, 0: 1, 0: 1" in str(caught.value)
    assert len(str(caught.value).split("--where")[1].split(": 1 run")[0]) < 120


def test_the_condition_of_a_family_selects_it():
    frame = pl.DataFrame({"recipe": ["it's", "b", None, "b"], "size": [1, 2, 2, 2], "fast": [True, False, None, False]})
    for values, part in split(frame, ["recipe", "size", "fast"]):
        assert frame.filter(condition(condition_of(values), frame.schema)).equals(part)
    frame = pl.DataFrame({"source": [None, "a.csv", "b.csv"]})
    assert [(name_of(values), part.height) for values, part in split(frame, ["source"])] == [
        ("imported runs", 2), ("own runs", 1),
    ]  # fmt: skip
    assert [condition_of(values) for values, _ in split(frame, ["source"])] == ["source IS NOT NULL", "source IS NULL"]


def test_several_families_are_refused_with_the_condition_of_each():
    frame = pl.DataFrame({"schedule": ["cosine"] * 3 + ["wsd"]})
    with pytest.raises(InputError) as caught:
        require_one_family(frame, ["schedule"])
    (head,), (first, second) = caught.value.faults, caught.value.hints
    assert "2 families, which differ in schedule" in head
    assert "--pool (pool=True)" in head
    assert first == "schedule = cosine: 3 runs, --where \"schedule = 'cosine'\""
    assert second == "schedule = wsd: 1 run, --where \"schedule = 'wsd'\""
    require_one_family(frame.head(3), ["schedule"])


def test_runs_that_differ_by_the_last_partial_batch_have_one_data_budget():
    tokens, batches = [9984, 9728, 9984, 5000], [256, 1024, 512, 256]
    frame = pl.DataFrame({"tokens": tokens, "unique_tokens": 9984, "epochs": 1.0, "batch_tokens": batches})
    planned, changed = with_planned_tokens(frame)
    assert planned["tokens"].to_list() == [9984, 9984, 9984, 5000]  # the last was stopped early: it is what it is
    assert changed == 1


def apart(values, name="exponent", **more) -> pl.DataFrame:
    """Return own runs at zipped points (N, D), each with one of ``values``."""
    points = [(1e6, 4e8), (2e6, 8e8), (4e6, 1.6e9), (1.6e8, 1e7), (1e6, 4e7), (1.6e8, 4e8)]
    rows = [
        {"N": n, "D": d, name: value, "seed": seed, "val_loss": 2 + 400 / n**0.3, "launch_id": "l", "source": None}
        for (n, d), value in zip(points, values, strict=True)
        for seed in (0, 1)
    ]
    return pl.DataFrame(rows, schema_overrides={"source": pl.String})


def own_roles(frame: pl.DataFrame, *scientific: str):
    launches = [{"workload": "w", "scientific": ["N", "D", *scientific], "nuisance": []}]
    return roles(frame, launches, ["N", "D"], ["val_loss"])


def test_numbers_that_differ_between_points_are_pooled_with_a_note():
    found = own_roles(apart([0.35, 0.35, 0.35, 0.65, 0.65, 0.65]), "exponent")
    assert found.families == ()
    (note,) = found.notes
    assert note.startswith("exponent differs from point to point (0.35 at 3 points, 0.65 at 3 points)")
    assert "--where 'exponent = …'" in note


def test_texts_that_differ_between_points_are_families():
    assert own_roles(apart(["a", "a", "a", "b", "b", "b"], "corpus"), "corpus").families == ("corpus",)


@pytest.mark.parametrize("values", [[1, 2, 4, 160, 1, 160], [40, 80, 160, 1, 4, 40]], ids=["of N", "of D"])
def test_what_n_or_d_decides_is_a_part_of_it(values):
    found = own_roles(apart(values, "width"), "width")
    assert (found.families, found.notes) == ((), ())
