"""The order of the test files: those that take longest first, so that no worker ends with one of them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.conftest import longest_file_first


def item(file: str, name: str, *marks: str) -> Any:
    """Return what stands for a test of this file with these marks."""
    return SimpleNamespace(
        path=Path(file), name=name, iter_markers=lambda: [SimpleNamespace(name=one) for one in marks]
    )


def test_the_file_that_takes_longest_is_first_and_its_tests_keep_their_order() -> None:
    many = [item("a_pure.py", f"pure{number}") for number in range(200)]
    ray = [item("b_ray.py", "one", "ray"), item("b_ray.py", "two", "ray")]
    slow = [item("c_slow.py", "last", "ray", "slow"), item("c_slow.py", "first")]
    ordered = longest_file_first([*many, *ray, *slow])
    assert ordered == [*slow, *ray, *many]
    assert longest_file_first(ordered[::-1]) == [*slow[::-1], *ray[::-1], *many[::-1]], "whatever the order was before"
