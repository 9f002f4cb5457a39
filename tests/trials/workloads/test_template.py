"""Templates of arguments: placeholders with plain formats, and nothing else of Python's format language."""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.trials.workloads.user_code import template

VALUES = {"lr": 0.00123, "width": 64, "flag": True, "name": "a b", "model.width": 8}


@pytest.mark.parametrize(
    ("text", "filled", "names"),
    [
        ("--lr={lr:.1e}", "--lr=1.2e-03", {"lr"}),
        ("{width:05d}{width}", "0006464", {"width"}),
        ("{flag} {flag:d}", "true 1", {"flag"}),  # as most programs write it, unless a format says otherwise
        ("{{lr}} {name}!", "{lr} a b!", {"name"}),
        ("model.width={model.width}", "model.width=8", {"model.width"}),
        ("plain", "plain", set()),
        ("", "", set()),
    ],
)
def test_placeholders_are_filled_in(text: str, filled: str, names: set[str]) -> None:
    assert template.placeholders(text) == names
    assert template.faults("argv[0]", text, VALUES) == []
    assert template.fill(text, VALUES) == filled


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (3, ["argv[0] = 3 is not text"]),
        ("a\0b", [r"argv[0] = 'a\x00b' holds a NUL character"]),
        ("{", ["argv[0] = '{': Single '{' encountered in format string (a literal brace is written twice)"]),
        ("{lr!r}", ["argv[0] = '{lr!r}': {lr} takes a plain format only, such as {lr:.3e}"]),
        ("{lr:{width}}", ["argv[0] = '{lr:{width}}': {lr} takes a plain format only, such as {lr:.3e}"]),
        (
            "{widht} {x}",
            [
                "argv[0] = '{widht} {x}': {widht} is not known (accepted: flag, lr, model.width, name, width)"
                "; did you mean 'width'?",
                "argv[0] = '{widht} {x}': {x} is not known (accepted: flag, lr, model.width, name, width)",
            ],
        ),
    ],
)
def test_what_is_no_template_is_told_with_what_is_accepted(text: Any, faults: list[str]) -> None:
    found = template.faults("argv[0]", text, VALUES)
    assert [one.partition("; did you mean")[0] for one in found] == [
        one.partition("; did you mean")[0] for one in faults
    ]
    assert sum("'width'" in one.partition(")")[2] for one in found) == sum("did you mean" in one for one in faults)


def test_a_format_that_does_not_fit_the_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="Unknown format code 'd'"):
        template.fill("{name:d}", VALUES)
