"""Sweep files: every form of an axis is read, and all faults are reported in one message."""

import time

import pytest

from sweeplaw.orchestrator.plan import axes, sizes
from sweeplaw.orchestrator.plan.sizes import MOST_COMBINATIONS
from sweeplaw.orchestrator.plan.sweep import parse, read
from sweeplaw.trials.errors import InputError

HEAD = 'name = "t"\nworkload = "surrogate"\n'


def axis(text, role="nuisance", name="lr"):
    sweep = parse(f"{HEAD}[scientific]\nparams = [1]\ntokens = 1\n[{role}]\n{name} = {text}\n")
    return [value for found in sweep.axes if found.names == (name,) for (value,) in found.values]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("[0.1, 0.2]", [0.1, 0.2]),
        ("0.5", [0.5]),
        ("{ list = [0.3, 0.1] }", [0.3, 0.1]),
        ("{ grid = [0.3, 0.1] }", [0.3, 0.1]),
        ("{ linear = [0.5, 1.5], num = 3 }", [0.5, 1.0, 1.5]),
        ("{ log = [0.001, 1], num = 4 }", [0.001, 0.01, 0.1, 1.0]),
        ("[0.1, 0.1, 0.2]", [0.1, 0.2]),
    ],
)
def test_every_form_of_an_axis_gives_its_values(text, values):
    assert axis(text) == values


def test_the_values_of_a_range_are_limited_in_a_random_search_too(monkeypatch):
    """Its axes count as one, so the limit of combinations does not hold their numbers of values."""
    monkeypatch.setattr(axes, "MOST_VALUES", 5)
    text = HEAD + '[search]\nkind = "random"\nsamples = 2\n[scientific]\nparams = [1]\ntokens = 1\n[nuisance]\n'
    (lr,) = [found for found in parse(text + "lr = { log = [0.1, 1], num = 5 }\n").axes if found.names == ("lr",)]
    assert len(lr.values) == 5
    with pytest.raises(InputError, match=r"nuisance.lr: num = 6; accepted is a whole number from 1 to 5"):
        parse(text + "lr = { log = [0.1, 1], num = 6 }\n")


def test_integer_ranges_are_rounded_and_distinct():
    assert axis("{ log = [1, 8], num = 7 }", name="batch_sequences") == [1, 2, 3, 4, 6, 8]


def test_zipped_axes_move_together():
    sweep = parse(HEAD + '[[zip]]\nrole = "scientific"\nparams = [1, 2, 3]\ntokens = [10, 20, 30]\n')
    (both,) = [found for found in sweep.axes if "params" in found.names]
    assert both.names == ("params", "tokens")
    assert both.values == ((1, 10), (2, 20), (3, 30))


def test_all_faults_are_reported_at_once_with_path_value_and_accepted_values():
    text = """
name = "has spaces"
workload = "surrogate"
seeds = 0
wher = "x"
[scientific]
parms = [1]
[search]
kind = "genetic"
"""
    with pytest.raises(InputError) as caught:
        parse(text, where="bad.toml")
    message = str(caught.value)
    assert "name: 'has spaces'" in message
    assert "wher: unknown key" in message
    assert "did you mean 'where'?" in message
    assert "search.kind: 'genetic'" in message
    assert "scientific.parms: no such knob; did you mean 'params'?" in message

    knobs = HEAD + (
        'seeds = 0\nwhere = "a.b"\n[scientific]\nparms = [1]\ntokens = ["x"]\n'
        '[nuisance]\nlr = { log = [0, 1], num = 3 }\n[fixed]\nlr = 1\n[derived]\nnoise = "("\n'
    )
    with pytest.raises(InputError) as caught:
        parse(knobs, where="bad.toml")
    faults = "\n".join(caught.value.faults)
    assert "scientific.parms: no such knob; did you mean 'params'?" in faults
    assert "scientific.tokens: 'x' is not a whole number" in faults
    assert "nuisance.lr: [0, 1]; accepted is [low, high]" in faults
    assert "seeds: 0" in faults
    assert "where: 'a.b'" in faults
    assert "derived.noise: '(' is not a formula" in faults


@pytest.mark.parametrize(
    "workload",
    ['"no_such"', '{ kind = "command", argv = ["x"], knobs = { lr = { lo = 1 } } }', '{ kind = "python:f" }'],
)
def test_a_faulty_workload_hides_no_fault_of_the_axes(workload):
    text = f"""
name = "t"
workload = {workload}
where = "lr >"
log_to = "paper:x"
[scientific]
a = {{ log = [1, 2], nun = 3 }}
b = [[1], {{}}]
[nuisance]
lr = []
[derived]
c = "2 *"
"""
    with pytest.raises(InputError) as caught:
        parse(text)
    begins = (
        "workload",
        "scientific.a: {'log'",
        "scientific.b: [1]",
        "nuisance.lr: an empty list",
        "derived.c:",
        "where:",
    )
    for begin in (*begins, "log_to = 'paper:x'"):
        assert any(fault.startswith(begin) for fault in caught.value.faults), begin


def test_a_knob_in_two_places_is_a_fault():
    with pytest.raises(InputError, match="lr: given 2 times"):
        parse(HEAD + "[scientific]\nparams = [1]\ntokens = 1\n[nuisance]\nlr = [1]\n[fixed]\nlr = 2\n")


@pytest.mark.parametrize(
    "place", ["[nuisance]\nseed = [1]\n", "[fixed]\nseed = 1\n", '[[zip]]\nrole = "nuisance"\nseed = [1]\n']
)
def test_seeds_as_an_axis_are_one_fault_that_says_where_they_are_given(place):
    with pytest.raises(InputError) as caught:
        parse(f"{HEAD}[scientific]\nparams = [1]\ntokens = 1\n{place}")
    assert [fault for fault in caught.value.faults if fault.startswith("seed:")] == [
        "seed: seeds are given by the top-level key seeds = [0, 1, …], not as an axis"
    ]


def test_a_range_without_num_needs_a_random_search():
    body = "[scientific]\nparams = [1]\ntokens = 1\n[nuisance]\nlr = { log = [0.1, 1] }\n"
    with pytest.raises(InputError, match="a grid needs"):
        parse(HEAD + body)
    assert parse(HEAD + '[search]\nkind = "random"\n' + body).search.model_dump()["samples"] == 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name = ", "not valid TOML"),
        ('workload = "surrogat"\nname = "t"', "did you mean 'surrogate'?"),
        (HEAD, "no axis"),
    ],
)
def test_an_invalid_sweep_is_rejected_with_the_reason(text, expected):
    with pytest.raises(InputError) as caught:
        parse(text)
    assert expected in str(caught.value)


def test_an_unreadable_file_is_named_in_the_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="UTF-8"):
        read(tmp_path / "b.toml")


POINT = "[scientific]\nparams = [1]\ntokens = [1]\n"
MOST = f"more than {MOST_COMBINATIONS:,}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("seeds = 2147483648\n" + POINT, f"seeds 2,147,483,648: {MOST} combinations"),
        (POINT + "[nuisance]\nlr = { log = [0.1, 1], num = 1000000000000 }\n", "nuisance.lr 1,000,000,000,000: more"),
        ("search = { kind = 'random', samples = 1000000000000 }\n" + POINT, "samples 1,000,000,000,000: more than"),
        (
            "seeds = 100\n" + POINT + "[nuisance]\nlr = { log = [0.1, 1], num = 1000 }\nweight_decay = "
            "{ linear = [0, 1], num = 1000 }\n",
            f"nuisance.lr 1,000 x nuisance.weight_decay 1,000 x seeds 100: {MOST} combinations",
        ),
        (
            "".join(f"[[zip]]\nrole = 'nuisance'\nlr = {list(range(300))}\n" for _ in range(4)) + POINT,
            "zip[0] 300 x zip[1] 300 x zip[2] 300 x zip[3] 300: more",
        ),
        ("[scientific]\n" + "".join(f"a{n} = 1\n" for n in range(1001)), "1,001 axes (accepted: at most 1,000)"),
        ("[derived]\n" + "".join(f"a{n} = 1\n" for n in range(1001)), "1,001 derived knobs (accepted: at most 1,000)"),
        (POINT + "[nuisance]\nlr = { log = [1e-300, 1e300], num = 3 }\n", "is wider than a number can express"),
        (POINT + "[nuisance]\nlr = { linear = [-1.7e308, 1.7e308], num = 3 }\n", "is wider than a number can express"),
        ("budget = { device_hours = nan }\n" + POINT, "budget.device_hours: nan; input should be a finite number"),
        (POINT + f"[fixed]\nlr = {'9' * 400}\n", "fixed.lr: a whole number of 1329 bits"),
    ],
)
def test_a_sweep_that_cannot_be_planned_is_refused_before_anything_is_built(text, sentence):
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        parse(HEAD + text)
    assert sentence in str(caught.value)
    assert time.monotonic() - began < 1


def test_the_largest_sweep_is_accepted():
    sizes.check(
        {"params": {"log": [1, 2], "num": 10}},
        {"lr": [1] * 10},
        [{"role": "nuisance", "a": [1] * 10}],
        10_000,
        None,
        1000,
    )
    with pytest.raises(InputError):
        sizes.check({"params": {"log": [1, 2], "num": 10}}, {"lr": [1] * 10}, [], 100_001, None, 0)
    sizes.check({"params": [1, 2]}, {"lr": {"log": [1, 2]}}, [], [0, 1], 2_500_000, 0)
    with pytest.raises(InputError):
        sizes.check({"params": [1, 2]}, {"lr": {"log": [1, 2]}}, [], [0, 1], 2_500_001, 0)


def test_all_values_that_an_axis_cannot_have_are_said_with_those_of_other_knobs():
    text = """
    name = "students"
    workload = "language_model"
    [scientific]
    params_non_embedding = [12_000]
    [nuisance]
    synthetic_weight = [1.0, nan, -0.5, inf, 0.9999999999999999]
    [fixed]
    synthetic = "synthetic:86a83104949701137578"
    teacher_temperature = 0
    """
    with pytest.raises(InputError) as caught:
        parse(text)
    weights, temperature = caught.value.faults
    for said in ("1.0 leaves no real text", "nan is not", "-0.5 is outside", "inf is not", "0.9999999999999999 leaves"):
        assert said in weights
    assert temperature.startswith("fixed.teacher_temperature: 0.0 is outside")
