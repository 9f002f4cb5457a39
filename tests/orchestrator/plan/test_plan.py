"""Plans are deterministic and independent of the order of axes; dropped combinations are counted; ids match specs."""

import contextlib
import gc
import itertools
import json
import os
import pty
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.cli import app
from sweeplaw.orchestrator.plan.estimate import estimate
from sweeplaw.orchestrator.plan.plan import DUPLICATE, MOST_FAULTS, plan
from sweeplaw.orchestrator.plan.sizes import free_knobs
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.formula import parse as parse_formula
from sweeplaw.trials.spec import TrialSpec

HEAD = 'name = "t"\nworkload = "surrogate"\n'


def made(body, head=HEAD):
    return plan(parse(head + body))


GRID = "[scientific]\nparams = [1000, 2000]\ntokens = [50, 70]\n[nuisance]\nlr = [0.1, 0.2, 0.3]\n"


def test_a_grid_has_every_combination_once():
    found = made(GRID)
    assert found.trials == 12 == len(set(found.ids))
    seen = {(s["params"], s["tokens"], s["lr"]) for s in found.specs}
    assert seen == set(itertools.product([1000, 2000], [50, 70], [0.1, 0.2, 0.3]))


@pytest.mark.parametrize("collecting", [True, False])
def test_planning_leaves_the_garbage_collector_as_it_was(collecting):
    before = gc.isenabled()
    try:
        (gc.enable if collecting else gc.disable)()
        made("[scientific]\nparams = [1000]\ntokens = [50]\n")
        assert gc.isenabled() == collecting
    finally:
        (gc.enable if before else gc.disable)()


def test_ids_computed_in_bulk_equal_the_ids_of_the_specs():
    found = made("seeds = 3\n" + GRID)
    assert [spec.trial_id for spec in found.specs] == list(found.ids)


@given(st.permutations(["params = [1, 2]", "tokens = [5, 7]", "batch_sequences = [1, 3]"]))
@settings(max_examples=6)
def test_the_order_of_axes_changes_nothing(lines):
    found = made("[scientific]\n" + "\n".join(lines) + "\n[nuisance]\nlr = [1, 2]\nweight_decay = [0, 1]\n")
    again = made("[nuisance]\nweight_decay = [0, 1]\nlr = [1, 2]\n[scientific]\n" + "\n".join(sorted(lines)) + "\n")
    assert list(found.ids) == list(again.ids)


def test_a_trial_keeps_its_identity_when_the_sweep_around_it_changes():
    small, large = made(GRID), made(GRID.replace("[50, 70]", "[30, 50, 70, 90]").replace("0.3]", "0.3, 0.4]"))
    assert set(small.ids) < set(large.ids)


def test_group_members_share_every_other_knob():
    found = made("seeds = 2\n" + GRID)
    assert len(found.groups) == 4
    assert {group.names for group in found.groups} == {("lr", "seed")}


def test_derived_values_follow_their_formula_in_any_order():
    body = GRID.replace("lr = [0.1, 0.2, 0.3]", "") + (
        '[derived]\nweight_decay = "lr * 2"\nlr = "0.3 * params ** -0.33"\nbatch_sequences = "tokens / 10"\n'
    )
    for spec in made(body).specs:
        assert spec["lr"] == 0.3 * spec["params"] ** -0.33
        assert spec["weight_decay"] == spec["lr"] * 2
        assert spec["batch_sequences"] == spec["tokens"] // 10


def test_a_formula_may_read_values_derived_from_the_shape():
    lm = 'name = "t"\n[scientific]\nparams_non_embedding = [10000, 30000]\n[derived]\nunique_tokens = "20 * params"\n'
    found = made(lm, head="")
    for spec, group in zip(found.specs, found.groups, strict=True):
        assert spec["unique_tokens"] == 20 * group.cost.params


def test_combinations_dropped_by_a_constraint_are_counted_by_constraint():
    found = made('where = ["tokens > 60", "lr < 0.25"]\n' + GRID)
    assert found.trials == 4
    assert found.dropped == {"where tokens > 60": 6, "where lr < 0.25": 2}


def test_duplicate_trials_run_once_and_are_counted():
    lm = 'name = "t"\n[scientific]\nparams_non_embedding = [10000, 10001]\nunique_tokens = [4096]\n'
    found = made(lm, head="")
    assert found.trials == 1
    assert found.dropped == {DUPLICATE: 1}


def test_a_larger_random_search_contains_the_smaller():
    body = "[scientific]\nparams = [1000, 2000]\ntokens = 50\n"
    body += "[nuisance]\nlr = { log = [1e-4, 1] }\nweight_decay = [0, 1]\n"
    small = made('[search]\nkind = "random"\nsamples = 5\n' + body)
    large = made('[search]\nkind = "random"\nsamples = 40\n' + body)
    assert small.trials == 10
    assert set(small.ids) < set(large.ids)
    assert all(1e-4 <= spec["lr"] <= 1 for spec in large.specs)
    assert list(large.ids) == list(made('[search]\nkind = "random"\nsamples = 40\n' + body).ids)


def test_cost_adds_up_over_trials():
    found = made("seeds = 2\n" + GRID)
    assert found.total("flops") == sum(6 * s["params"] * s["tokens"] for s in found.specs)


def test_the_memory_of_a_plan_is_that_of_its_largest_trial_and_unknown_where_none_is_known():
    local, text = profile.load("local"), "[scientific]\nwidth = [16, 64]\ntokens = [262144]\n"
    models = made(text, 'name = "s"\nworkload = "language_model"\n')
    assert estimate(models, local)["memory_bytes"] == models.groups[1].cost.memory_bytes > 0
    assert estimate(made(GRID), local)["memory_bytes"] is None


def test_a_point_of_several_recipes_names_none_of_them():
    text = 'name = "s"\nworkload = "language_model"\n[scientific]\nwidth = [16, 32]\noptimizer = ["adamw", "muon"]\n'
    cost = estimate(plan(parse(text + "[fixed]\nunique_tokens = 262144\n")), profile.load("local"))
    assert [(point["point"], point["trials"]) for point in cost["points"]] == [({"width": 16}, 2), ({"width": 32}, 2)]


def test_batch_sizes_that_do_not_divide_the_tokens_are_at_one_point():
    text = (
        'name = "s"\nworkload = "language_model"\n[scientific]\nwidth = [16, 32]\ntokens = [262144, 524288]\n'
        "[nuisance]\nbatch_sequences = [8, 12, 20]\n[fixed]\ncontext = 64\n"
    )
    made = plan(parse(text))
    cost = estimate(made, profile.load("local"))
    assert len({group.cost.tokens for group in made.groups}) > 2
    assert [(point["tokens"], point["trials"]) for point in cost["points"]] == 2 * [(262144, 3), (524288, 3)]
    assert sum(point["flops"] for point in cost["points"]) == pytest.approx(cost["flops"])


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ('where = "tokens > 1000"\n', "no trials are left (12 dropped: where tokens > 1000)"),
        ('where = "tokns > 1"\n', "did you mean 'tokens'?"),
        ("[budget]\ntrials = 3\n", "budget.trials = 3, but the sweep has 12 trials"),
        ("[budget]\nflops = 10\n", "budget.flops = 10"),
        ('[derived]\nweight_decay = "nothing * 2"\n', "uses nothing, which is not defined"),
        ('[derived]\nweight_decay = "noise"\nnoise = "weight_decay"\n', "derived.noise"),
        ('[derived]\nweight_decay = "-lr"\n', "derived.weight_decay: '-lr': -0.1 is outside"),
        ('[derived]\nweight_decay = "1 / (lr - lr)"\n', "has no value at lr = 0.1"),
    ],
)
def test_an_impossible_plan_is_rejected_with_the_reason(head, message):
    with pytest.raises(InputError) as caught:
        made(head + GRID)
    assert message in str(caught.value)


def test_specs_survive_their_canonical_text():
    for spec in made(GRID).specs:
        assert TrialSpec.from_canonical(spec.canonical(), {}) == spec


def test_planning_reports_the_number_of_combinations_done():
    reports = []
    plan(parse(HEAD + GRID), lambda done, total: reports.append((done, total)))
    assert reports == [(3, 12), (6, 12), (9, 12), (12, 12)]


def plan_command(tmp_path, sizes, *options):
    sweep = tmp_path / "long.toml"
    sweep.write_text(f"{HEAD}[scientific]\nparams = {{ log = [1e6, 1e9], num = {sizes} }}\ntokens = [1e15]\n")
    return CliRunner().invoke(app, ["plan", str(sweep), *options], catch_exceptions=False).stdout


def test_points_of_unknown_size_are_told_apart_by_their_axes(tmp_path):
    (tmp_path / "own.py").write_text("def f(config): ...\n")
    (tmp_path / "s.toml").write_text(
        'name = "own"\nworkload = "python:own:f"\n[scientific]\n"model.width" = [64, 128]\ndepth = [2, 4]\n'
        "[nuisance]\nlr = [0.1, 0.2, 0.3]\n"
    )
    found = CliRunner().invoke(app, ["plan", str(tmp_path / "s.toml")], catch_exceptions=False).stdout
    rows = [line.split()[:3] for line in found.splitlines()[1:6]]
    assert rows == [
        ["depth", "model.width", "trials"],
        *([depth, width, "3"] for depth in ("2", "4") for width in ("64", "128")),
    ]


@pytest.mark.heavy
def test_a_long_table_shows_both_ends_and_a_note(tmp_path):
    short = plan_command(tmp_path, 40)
    assert sum(line.rstrip().endswith("–") for line in short.splitlines()) == 40
    assert "points at each end" not in short
    long = plan_command(tmp_path, 1000)
    rows = [line.split() for line in long.splitlines() if line.rstrip().endswith(("–", "…"))]
    assert len(rows) == 41
    assert rows[0][0] == "1M"
    assert set(rows[20]) == {"…"}
    assert rows[40][0] == "1B"
    assert "20 points at each end of 1000 (--json for all)" in long
    assert len(json.loads(plan_command(tmp_path, 1000, "--json"))["points"]) == 1000


@pytest.mark.heavy
def test_a_progress_bar_appears_on_a_terminal_for_slow_work_only(tmp_path):
    script = (
        "import sys, time\n"
        "from sweeplaw.orchestrator.cli.shared.progress import progress_bar\n"
        "with progress_bar('things') as progress:\n"
        "    for done in range(4):\n"
        "        time.sleep(float(sys.argv[1]))\n"
        "        progress(done, 4000)\n"
    )
    for pause, seen in (("0.3", True), ("0", False)):
        reader, terminal = pty.openpty()
        subprocess.run([sys.executable, "-c", script, pause], stderr=terminal, check=True)
        os.close(terminal)
        output = b""
        with contextlib.suppress(OSError):  # the end of a terminal's output
            while part := os.read(reader, 65536):
                output += part
        os.close(reader)
        assert (b"things" in output and b"/4000" in output) == seen
    piped = subprocess.run([sys.executable, "-c", script, "0.3"], capture_output=True, check=True)
    assert not piped.stderr


@pytest.mark.parametrize(
    ("formula", "sentence"),
    [
        ("1e308 * 10", ": inf is not a whole number of at most 64 bits"),
        ("1e308 * 10 - 1e308 * 10", ": nan is not a whole number"),
        ("10 ** 300", "is not a whole number of at most 64 bits"),
        ("'text'", ": 'text' is not a whole number"),
    ],
)
def test_a_formula_whose_value_does_not_fit_its_knob_is_reported(formula, sentence):
    text = HEAD + f'[scientific]\nparams = [1000]\ntokens = [1000]\n[derived]\nbatch_sequences = "{formula}"\n'
    with pytest.raises(InputError) as caught:
        plan(parse(text))
    assert "derived.batch_sequences: " in str(caught.value)
    assert sentence in str(caught.value)


def test_a_count_of_more_digits_than_a_float_is_rounded_by_a_formula_alone():
    text = """
name = "t"
workload = { kind = "python:math:fsum", knobs = { flops = { type = "float" } } }
[scientific]
params = [31622777]
tokens = [3162277660]
[%s]
flops = %s
"""
    (trial,) = plan(parse(text % ("derived", '"6 * params * tokens"'))).specs
    assert trial.knobs["flops"] == 6.0 * 31622777 * 3162277660
    with pytest.raises(InputError, match="64 bits hold exactly"):
        parse(text % ("fixed", 6 * 31622777 * 3162277660))


MODEL = '[fixed]\ncorpus = "stdlib"\n'
LR = "lr = { log = [1e-4, 1e-1], num = 2_000_000 }\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            f"{HEAD}[scientific]\nparams = {{ linear = [1, 10000000], num = 1500 }}\n"
            "tokens = { linear = [1, 10000000], num = 1500 }\n",
            "scientific.params 1,500 x scientific.tokens 1,500",
        ),
        (f"{HEAD}[scientific]\nparams = {{ log = [1, 1e9], num = 10_000_000 }}\n", "scientific.params 10,000,000"),
        (
            f'name = "a"\n[scientific]\nparams = [100000]\n[nuisance]\n{LR}[derived]\nunique_tokens = "1e6 * lr"\n'
            f"{MODEL}",
            "nuisance.lr 2,000,000",  # a formula for a shared knob reads it
        ),
        (
            f'name = "a"\n[scientific]\nparams = [100000]\n[nuisance]\n{LR}[derived]\nunique_tokens = "2 * epochs"\n'
            f'epochs = "1 + lr"\n{MODEL}',
            "nuisance.lr 2,000,000",
        ),
        (
            'name = "a"\nseeds = 2_000_000\n[scientific]\nparams = [100000]\n[derived]\nunique_tokens = "9 + seed"\n'
            f"{MODEL}",
            "seeds 2,000,000",
        ),
        (
            'name = "a"\n[search]\nkind = "random"\nsamples = 2_000_000\n[scientific]\nparams = [100000]\n'
            f"[nuisance]\nbatch_sequences = {{ log = [1, 1e9] }}\n{MODEL}",
            "samples 2,000,000",
        ),
    ],
)
def test_more_groups_than_can_be_planned_are_refused_before_a_value_is_built(text, message):
    began = time.process_time()
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value).startswith(f"sweep: {message}: more than 1,000,000 groups (accepted: fewer values")
    assert time.process_time() - began < 0.5


def test_axes_of_member_knobs_make_no_groups():
    text = f'name = "a"\nseeds = 5\n[scientific]\nparams = [100000]\n[nuisance]\n{LR.replace("2_000_000", "3")}{MODEL}'
    assert free_knobs(parse(text).workload.knobs, {}) >= {"lr", "seed"}
    (group,) = plan(parse(text)).groups
    assert len(group.ids) == 15


def test_formulas_say_what_works_for_names_with_dots():
    text = (
        'name = "a"\n[workload]\nkind = "command"\nargv = ["true", "{model.depth}", "{lr}"]\n'
        '[scientific]\n"model.depth" = [1, 2]\n[derived]\nlr = "0.1 * model.depth"\n'
    )
    with pytest.raises(InputError) as caught:
        parse(text)
    assert str(caught.value) == (
        "sweep: derived.lr: '0.1 * model.depth': model.depth has a dot, and a formula reads no such names; accepted "
        "are knobs that move together in a [[zip]] block, or a knob named without dots"
    )
    with pytest.raises(InputError, match=r"x\.y has a dot"):
        parse_formula("x.y + 2.5e3 * 'a.b'")
    assert parse_formula("kind == 'a.b' and 2.5 < x").names == {"kind", "x"}


def test_names_that_are_not_defined_are_reported_with_the_other_faults():
    with pytest.raises(InputError) as caught:
        parse(HEAD + 'where = "nosuch < 3"\n[scientific]\nparamz = [1]\n[derived]\nlr = "0.1 * tokenz"\n')
    assert [fault.split(" (known")[0] for fault in caught.value.faults] == [
        "scientific.paramz: no such knob; did you mean 'params'?",
        "derived.lr: '0.1 * tokenz' uses tokenz, which is not defined; did you mean 'tokens'?",
        "where: 'nosuch < 3' uses nosuch, which is not defined",
    ]


def test_a_notebook_shows_the_totals_the_axes_and_what_was_dropped():
    text = (
        'name = "a"\nworkload = "surrogate"\nwhere = "lr < 0.02"\n[scientific]\nparams = [1e7, 1e8]\ntokens = [1e9]\n'
        "[nuisance]\nlr = [0.01, 0.1]\n"
    )
    made = plan(parse(text))
    assert repr(made) == f"a: 2 trials of surrogate, 2B tokens, {made.total('flops'):.3g} FLOPs"
    assert made.summary().splitlines()[1:] == [
        "axis    values",
        *("lr      0.01, 0.1", "params  10000000, 100000000", "seed    0", "tokens  1000000000"),
        "note: 2 dropped: where lr < 0.02",
    ]
    assert "<b>a: 2 trials" in made._repr_html_()
    assert json.loads(json.dumps(made.to_dict()))["axes"]["lr"] == [0.01, 0.1]


def test_member_knobs_that_do_not_go_together_are_refused_by_the_plan_all_at_once():
    text = """
        name = "t"
        workload = "language_model"
        [scientific]
        width = [16]
        [nuisance]
        momentum = [-1, 0.9]
        schedule = ["cosine", "points"]
        lr = { log = [1e-4, 1e-2], num = 100 }
        [fixed]
        corpus = "markov:states=16"
        """
    with pytest.raises(InputError) as caught:
        plan(parse(text))
    assert sorted(caught.value.faults) == [
        "momentum = 0.9 is no knob of optimizer = 'adamw' (accepted with: sgd, muon)",
        "schedule = 'points' with schedule_points = '' (accepted: 'points' and points, or neither)",
    ]
    good = text.replace('schedule = ["cosine", "points"]', "").replace(
        "corpus =", 'optimizer = "sgd"\n        corpus ='
    )
    assert plan(parse(good)).trials == 200


def test_faults_of_the_cost_and_of_joined_knobs_at_all_points_are_told_at_once():
    text = """
        name = "t"
        workload = "language_model"
        scientific.width = [16, 32]
        nuisance.momentum = [-1, 0.9]
        fixed = { corpus = "markov:states=16", parametrization = "mup", base_width = 6 }
        """
    with pytest.raises(InputError) as caught:
        plan(parse(text))
    assert sorted(caught.value.faults) == [
        "base_width = 6 does not divide width = 16 (accepted: a divisor of every width)",
        "base_width = 6 does not divide width = 32 (accepted: a divisor of every width)",
        "momentum = 0.9 is no knob of optimizer = 'adamw' (accepted with: sgd, muon)",
    ]


def test_what_a_launch_would_refuse_of_member_knobs_a_plan_refuses_in_the_same_words():
    """A rate of 0 among a thousand, changes after the end of a run of one length, and changes that are none."""
    rates = [*(number / 1000 for number in range(1, 1000)), 0.0]
    text = f"""
        name = "t"
        workload = "language_model"
        scientific.epochs = [1, 2]
        [nuisance]
        lr = {rates}
        changes = ["", "10: lr=0.5", "40: lr=0.1", "bogus"]
        [fixed]
        corpus = "markov:states=16"
        context = 16
        unique_tokens = 4096
        width = 16
        decay_convention = "independent"
        """
    expected = [
        "changes: '40: lr=0.1': step 40 of 32 (accepted: before the end)",
        "changes: 'bogus' is no change (accepted: 'STEP: lr=VALUE, weight_decay=VALUE')",
        "lr = 0 with decay_convention = 'independent' (accepted: above 0)",
    ]
    with pytest.raises(InputError) as caught:
        plan(parse(text))
    assert sorted(caught.value.faults) == expected
    workload = parse(text).workload
    knobs = workload.resolve({"corpus": "markov:states=16", "context": 16, "unique_tokens": 4096, "width": 16})
    specs = [
        TrialSpec.of(workload.name, workload.knobs, {**knobs, "decay_convention": "independent", **own})
        for own in ({"lr": 0.0}, {"changes": "40: lr=0.1"}, {"changes": "bogus"}, {"changes": "10: lr=0.5"})
    ]
    with pytest.raises(InputError) as caught:
        workload.check(specs)
    assert sorted(caught.value.faults) == expected


def test_a_plan_whose_every_point_has_a_fault_of_its_own_tells_the_first():
    text = """
        name = "t"
        workload = "language_model"
        scientific.unique_tokens = { linear = [1000, 90_000], num = 400 }
        fixed = { corpus = "markov:states=16", width = 16, batch_sequences = 4096 }
        """
    with pytest.raises(InputError) as caught:
        plan(parse(text))
    assert len(caught.value.faults) == MOST_FAULTS
