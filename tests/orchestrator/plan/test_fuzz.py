"""Sweep files and profiles that are wrong in any way are refused in one message, at once, and in little memory.

The shipped files are mutated at random: types, sizes, names, nesting, text. `SWEEPLAW_FUZZ=10` tries ten times as many.
"""

import copy
import json
import math
import os
import random
import resource
import time
import tomllib

import pytest

from sweeplaw.clusters.profile import profile, toml_file
from sweeplaw.orchestrator.plan.estimate import absent_data, check, estimate, listing
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.search_options import RandomSearch
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

pytestmark = pytest.mark.heavy

SCALE = float(os.environ.get("SWEEPLAW_FUZZ", "1"))
SECONDS = 5.0  # for one file
KILOBYTES = 500_000  # that all of them may add to the memory of this process
PLANNED = 500  # combinations; sweeps with more are read and not planned
SWEEPS = [*(ROOT / "orchestrator/sweeps").rglob("*.toml"), *(ROOT / "examples").glob("own_*/*.toml")]
PROFILES = [*(ROOT / "examples/clusters").glob("*.toml")]

NUMBERS = [
    *(0, -1, 1, 2, 7, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64, 10**12, 10**25, 10**400, int("9" * 4300)),
    *(0.0, -0.0, 0.5, -1.5, 1e-320, 1e-9, 1e16, 1e300, 1.7e308, math.inf, -math.inf, math.nan),
]
TEXTS = [
    *("", " ", "a", "\0", "a\nb", "é", "e\u0301", "\u202e", "ﬁ", "😀", "x" * 5000, "../..", "~nobody-at-all/x", "1/0"),
    *("$(true)", "nan", "1e999 GiB", "9" * 400 + " GiB", "9" * 5000 + "/" + "9" * 5001, "ray://", "http://[", "{seed}"),
    *("tokens:/x?vocab=" + "9" * 5000, "markov:states=99999999999", "markov:states=2,order=99", "text:**", "hf:"),
    *("params_non_embedding", "seed", "lr", "language_model", "surrogate", "python:a:b", "command", "random"),
]
FORMULAS = [
    *("round(params,-10**9)", "min('a','b')*10**9", "2**10**10", "1e400-1e400", "-" * 900 + "1", "not " * 480 + "N"),
    *(
        "max(1)",
        "max(params)(1)",
        "corpus*10**9",
        "1/0",
        "seed",
        "lr",
        "params",
        "10**300",
        "-1",
        "'text'",
        "seed*1e300",
    ),
    *("exp(710)", "log(0)", "int(1e308)*int(1e308)", "tokens if params else optimizer", "undefined", "((", "a.b"),
]
RANGES = [
    *({"log": [1, 2]}, {"log": [1e-300, 1e300], "num": 5}, {"linear": [-1e308, 1e308], "num": 3}, {"num": 3}),
    *({"log": [1, 10], "num": 10**12}, {"linear": [0, 1], "num": 10**400}, {"log": [0, 1], "num": 2}, {"list": []}),
    *(
        {"linear": [math.nan, math.inf], "num": 2},
        {"grid": [1, "a"]},
        {"log": [1, 2], "num": True},
        {"log": [1], "num": 1},
    ),
]
ANYTHING = [
    *NUMBERS,
    *TEXTS,
    *FORMULAS,
    *RANGES,
    True,
    False,
    [],
    {},
    [[]],
    [1, "a", None.__class__.__name__],
    [0] * 50,
]


def pick(values, rng):
    """Return one of these values, not shared with any other pick."""
    return copy.deepcopy(rng.choice(values))


def deep(levels, inner):
    """Return tables and arrays within each other."""
    for level in range(levels):
        inner = [inner] if level % 2 else {"a": inner}
    return inner


def places(value):
    """Yield (container, key) of every value at any depth."""
    for key, part in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(part, dict | list):
            yield from places(part)


def mutated(content, rng):
    """Return the content with one to three changes."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 2, 3])):
        container, key = rng.choice(list(places(content)))
        change = rng.randrange(8)
        if change == 0 and isinstance(container, dict):
            container[rng.choice(TEXTS)] = container.pop(key)
        elif change == 1:
            del container[key]
        elif change == 2:
            container[key] = deep(rng.choice([2, 31, 40, 120]), pick(ANYTHING, rng))
        elif change == 3 and isinstance(container, dict):
            container[rng.choice(["seeds", "where", "shard", "slots", "budget", "retry", "search", "zip", "nodes"])] = (
                pick(ANYTHING, rng)
            )
        elif change == 4 and isinstance(content.get("scientific"), dict):
            table = rng.choice(["scientific", "nuisance", "fixed", "derived"])
            content.setdefault(table, {})
            if isinstance(content[table], dict):
                content[table][
                    rng.choice(["params", "tokens", "lr", "context", "epochs", "corpus", "seed", "width"])
                ] = pick([*FORMULAS, *RANGES, *NUMBERS, *TEXTS], rng)
        else:
            container[key] = pick(ANYTHING, rng)
        if not content:
            break
    return content


def to_toml(value):
    """Return this value in TOML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)} = {to_toml(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return str(value).lower()


def damaged(text, rng):
    """Return text with a piece removed, repeated or replaced."""
    begin = rng.randrange(len(text))
    end = min(len(text), begin + rng.choice([1, 1, 3, 20]))
    return (
        text[:begin]
        + rng.choice(["", text[begin:end] * 2, "[[", "\0", "=", '"', "é", "9" * 5000, "[" * 5000, "{a=" * 5000])
        + text[end:]
    )


def cases(paths, count, seed):
    rng = random.Random(seed)
    for _ in range(int(count * SCALE)):
        text = rng.choice(paths).read_text(encoding="utf-8")
        if rng.random() < 0.15:
            yield damaged(text, rng)
        else:
            content = mutated(tomllib.loads(text), rng)
            yield "".join(f"{json.dumps(name)} = {to_toml(value)}\n" for name, value in content.items())


def read_sweep(text):
    sweep = parse(text)
    axes = math.prod(max(1, len(axis.values)) for axis in sweep.axes)
    if axes * (sweep.search.samples if isinstance(sweep.search, RandomSearch) else 1) > PLANNED:
        return
    made = plan(sweep)
    absent_data(made)
    listing(made)
    check(made, estimate(made, profile.load("local")))


def read_profile(text):
    read = profile.parse(toml_file.parse(text), name="fuzzed")
    read.planned_slots()
    estimate(SURROGATE, read)
    profile.trial_settings(read)


SURROGATE = plan(parse('name = "s"\nworkload = "surrogate"\n[scientific]\nparams = [1000000]\ntokens = [1000000]\n'))


def message(read, text):
    """Return the message that ``read`` refuses this text with, None if it accepts it."""
    try:
        read(text)
    except InputError as error:
        return str(error)
    except BaseException as error:
        raise AssertionError(f"{error!r}\n{text}") from error


@pytest.mark.parametrize(("paths", "read", "count"), [(SWEEPS, read_sweep, 300), (PROFILES, read_profile, 300)])
def test_no_mutation_of_a_shipped_file_ends_in_anything_but_a_message(paths, read, count):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    messages = []
    for text in cases(paths, count, seed=14):
        began = time.monotonic()
        messages.append(message(read, text))
        assert time.monotonic() - began < SECONDS, text
    refused = [found for found in messages if found is not None]
    assert 0.3 < len(refused) / len(messages) < 1
    assert max(map(len, refused)) < 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES
