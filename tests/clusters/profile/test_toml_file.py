"""TOML files of people: what exceeds their bounds is refused at once, in one message."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from sweeplaw.clusters.profile.toml_file import DEEPEST, LONGEST, LONGEST_NAME, parse, read
from sweeplaw.trials.errors import InputError


def nested(levels: int) -> str:
    return f"a = {'[' * levels}{']' * levels}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = ", "not valid TOML"),
        (nested(DEEPEST), f"nested too deeply (accepted: {DEEPEST} levels)"),
        (nested(100_000), "nested too deeply"),
        ("a = " + "{ a = " * 5000, "nested too deeply"),
        (f"[a{'.a' * 100_000}]", "nested too deeply"),
        (f"""["a"{".'a'" * 100_000}]""", "nested too deeply"),
        ("a = 9223372036854775808", "a: a whole number of 64 bits (accepted: 64 bits with the sign)"),
        ("b = [1, { c = -9223372036854775809 }]", "b[1].c: a whole number of 64 bits"),
        (f"a = {'9' * 400}", "a: a whole number of 1329 bits"),
        (f"a = {'9' * 4301}", "a whole number of thousands of digits"),
        (f"a = 0x{'f' * 100_000}", "a: a whole number of 400000 bits"),
        ('a = "x\\u0000"', "a: 'x\\x00' holds a NUL character"),
        ('[t]\n"a\\nb" = 1', "t: the name 'a\\nb' holds a character that cannot be printed"),
        ('[t]\n"\\u00e9" = 1\n"e\\u0301" = 2', "t: the names '\\xe9' and 'e\\u0301' look the same"),
        (f"{'a' * (LONGEST_NAME + 1)} = 1", "a name of 513 characters (accepted: at most 512)"),
        (f"# {'a' * LONGEST}", "is longer than"),
    ],
)
def test_what_exceeds_the_bounds_is_refused_at_once(text: str, sentence: str) -> None:
    began = time.monotonic()
    with pytest.raises(InputError) as caught:
        parse(text, where="x.toml")
    assert str(caught.value).startswith("x.toml: ")
    assert sentence in str(caught.value)
    assert time.monotonic() - began < 2


def test_what_is_within_the_bounds_is_read() -> None:
    deepest = parse(nested(DEEPEST - 1))["a"]
    for _ in range(DEEPEST - 2):
        (deepest,) = deepest
    assert deepest == []
    assert parse(f"a{'.a' * (DEEPEST - 1)} = 1")
    assert parse(f"{'a' * LONGEST_NAME} = 1")
    assert parse('a = [-9223372036854775808, 9223372036854775807, "1.2.3", inf]')["a"][1] == 2**63 - 1


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, sentence in [
        ("none", "No such file"),
        ("b.toml", "is not UTF-8"),
        ("loop", "symbolic links"),
        ("\0", "null"),
    ]:
        with pytest.raises(InputError, match=f"here: .*{sentence}"):
            read(tmp_path / name, where="here")
    with pytest.raises(InputError, match="is longer than"):
        read(Path("/dev/zero"), where="here")


def test_many_faults_are_cut_off() -> None:
    with pytest.raises(InputError) as caught:
        parse(f"a = [{', '.join(['9999999999999999999999'] * 50)}]")
    assert len(caught.value.faults) == 20


def test_a_pipe_that_nobody_writes_to_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="x: cannot be read: it is not a regular file"):
        read(tmp_path / "pipe", where="x")
