"""Conditional writes to an object store: the loser reads again, and gives up after fifty lost in a row."""

from __future__ import annotations

from typing import Any

import pytest
from pyarrow.fs import LocalFileSystem

from sweeplaw.orchestrator.store import compare_and_swap
from sweeplaw.orchestrator.store.compare_and_swap import _options, update
from sweeplaw.trials.store_format.location import Location

obstore: Any = pytest.importorskip("obstore", reason="claims on an object store need obstore")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """The bounds of each pause; none is waited for."""
    seen: list[tuple[float, float]] = []

    def note(low: float, high: float) -> float:
        seen.append((low, high))
        return low

    monkeypatch.setattr("random.uniform", note)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return seen


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Any:
    memory = obstore.store.MemoryStore()
    monkeypatch.setattr(compare_and_swap, "_bucket", lambda location: memory)
    return memory


LOCATION = Location("mock://store", LocalFileSystem(), "/nowhere", local=False)


def add(number: int) -> Any:
    return lambda content: {"seen": [*content.get("seen", []), number]}


def test_updates_follow_each_other(bucket: Any, pauses: list[Any]) -> None:
    assert update(LOCATION, "claims/table.json", add(1)) == {"seen": [1]}
    assert update(LOCATION, "claims/table.json", add(2))["seen"] == [1, 2]
    assert pauses == []


def test_who_comes_second_reads_again_and_changes_what_the_first_has_written(bucket: Any, pauses: list[Any]) -> None:
    update(LOCATION, "claims/table.json", add(1))
    others = iter([2, 3])

    def slow(content: dict[str, Any]) -> dict[str, Any]:
        for number in others:  # another launch is faster, twice
            update(LOCATION, "claims/table.json", add(number))
            break
        return add(9)(content)

    assert update(LOCATION, "claims/table.json", slow)["seen"] == [1, 2, 3, 9]
    assert pauses == [(0, 0.02), (0, 0.04)]


def test_fifty_writes_lost_in_a_row_are_an_error_and_pauses_grow_to_a_second(
    bucket: Any, pauses: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*args: Any, **options: Any) -> None:
        raise obstore.exceptions.PreconditionError("changed meanwhile")

    monkeypatch.setattr(obstore, "put", lost)
    with pytest.raises(TimeoutError, match=r"mock://store/claims/table\.json: lost 50 conditional writes in a row"):
        update(LOCATION, "claims/table.json", add(1))
    assert len(pauses) == 50
    assert [high for _, high in pauses[:7]] == pytest.approx([0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0])
    assert pauses[-1] == (0, 1.0)


@pytest.mark.parametrize(
    ("uri", "environment", "options"),
    [
        ("s3://b/x", {}, {}),
        ("gs://b/x", {"AWS_ENDPOINT_URL": "http://here"}, {}),
        (
            "s3://b/x",
            {"AWS_ENDPOINT_URL": "http://here", "AWS_REGION": "eu"},
            {"config": {"endpoint": "http://here", "region": "eu"}, "client_options": {"allow_http": True}},
        ),
        (
            "s3://b/x",
            {"AWS_ENDPOINT_URL": "http://a", "AWS_ENDPOINT_URL_S3": "https://b", "AWS_DEFAULT_REGION": "us"},
            {"config": {"endpoint": "https://b", "region": "us"}, "client_options": {"allow_http": False}},
        ),
        (
            "s3://b/x",
            {"AWS_ENDPOINT_URL": "https://a"},
            {"config": {"endpoint": "https://a", "region": "us-east-1"}, "client_options": {"allow_http": False}},
        ),
    ],
)
def test_the_client_is_configured_by_the_standard_variables(
    uri: str, environment: dict[str, str], options: dict[str, Any]
) -> None:
    assert _options(uri, environment) == options
