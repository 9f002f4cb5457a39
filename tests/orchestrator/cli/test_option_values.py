"""Options that hold lists, pairs, numbers and ranges; where a launch on another machine may keep its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from sweeplaw.orchestrator.cli.shared import forecasts, options, pictures, remote
from sweeplaw.trials.errors import InputError


def test_names_are_separated_by_commas() -> None:
    assert options.names(" a, b ,,c") == ("a", "b", "c")
    assert options.names(None) == options.names(" , ") == ()


def test_pairs_have_a_name_and_a_value() -> None:
    assert options.pairs(["a=1", " b = x=y "], "--set") == {"a": "1", "b": "x=y"}
    assert options.pairs(["7"], "--cell", "N") == {"N": "7"}
    assert options.pairs(None, "--set") == {}
    with pytest.raises(InputError) as error:
        options.pairs(["a=1", "b", "=2", "c=", "a=3"], "--set")
    assert str(error.value).splitlines() == [
        "4 faults",
        "  - --set 'b' (accepted: NAME=VALUE)",
        "  - --set '=2' (accepted: NAME=VALUE)",
        "  - --set 'c=' (accepted: NAME=VALUE)",
        "  - --set gives a twice",
    ]


def test_numbers_and_ranges_name_every_fault() -> None:
    assert options.numbers({"a": "1e3", "b": "-2"}, "--fix") == {"a": 1000.0, "b": -2.0}
    assert options.ranges({"a": "1:2", "b": ":3", "c": "4:", "d": ":"}, "--bound") == {
        "a": (1.0, 2.0), "b": (None, 3.0), "c": (4.0, None), "d": (None, None)
    }  # fmt: skip
    with pytest.raises(InputError) as error:
        options.numbers({"a": "x", "b": "1", "c": ""}, "--fix")
    assert str(error.value).splitlines()[1:] == [
        "  - --fix a=x: 'x' is not a number", "  - --fix c=: '' is not a number"
    ]  # fmt: skip
    with pytest.raises(InputError) as error:
        options.ranges({"a": "1", "b": "1:2:3", "c": "1:2"}, "--bound")
    accepted = "(accepted: NAME=LOW:HIGH, either side may be empty)"
    assert str(error.value).splitlines()[1:] == [f"  - --bound a=1 {accepted}", f"  - --bound b=1:2:3 {accepted}"]
    assert options.number("7B") == 7e9
    with pytest.raises(typer.BadParameter, match="'x' is not a number"):
        options.number("x")


def test_forecasts_are_asked_for_by_inputs_or_by_budgets() -> None:
    runs, budgets = forecasts.points(["N=7e9, D=1.4T", "N=1B,D=2B"], ["1e22", "3e21"])
    assert runs == [{"N": 7e9, "D": 1.4e12}, {"N": 1e9, "D": 2e9}]
    assert budgets == [1e22, 3e21]
    assert forecasts.points(None, ["5"]) == ([], [5.0])
    with pytest.raises(InputError, match=r"give the inputs of a run \(--at N=7e9,D=1.4e11\) or a budget"):
        forecasts.points(None, [])
    with pytest.raises(InputError) as error:
        forecasts.points(["N=x,D=1"], ["y"])
    assert "--at N: 'x' is not a number" in str(error.value)
    assert "--compute: 'y' is not a number" in str(error.value)


@pytest.mark.parametrize("store", ["s3://key:word@bucket/x", "s3://bucket/x?SECRET_key=a"])
def test_a_credential_in_a_uri_never_becomes_a_command(store: str) -> None:
    with pytest.raises(InputError, match="would end up in files and process lists"):
        remote.launch_command("a.toml", "local", store)


def test_the_command_of_another_machine_and_the_stores_that_outlive_it(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert remote.launch_command("a.toml", "c", "s3://b/x@y") == [
        "sweeplaw", "launch", "a.toml", "--cluster", "c", "--store", "s3://b/x@y"
    ]  # fmt: skip
    assert [remote.absolute_store(store) for store in ("s3://b/x", "x", "/x")] == ["s3://b/x", f"{tmp_path}/x", "/x"]
    for store in ("s3://b/x", "/data/x", "/data", "/more/x/y"):
        assert remote.persistent_store(store, ["/data", "/more"]) == store
    for store in ("/data/../x", "/database", "x", "/tmp/x"):
        with pytest.raises(InputError, match=r"bucket/results, or a folder under /data, or a folder under /more\)"):
            remote.persistent_store(store, ["/data", "/more"])
    assert remote.shared_path("store", "gs://b") == "gs://b"
    assert remote.shared_path("store", "/x") == "/x"
    with pytest.raises(InputError, match="store = 'x' is a folder of this machine"):
        remote.shared_path("store", "x")


def test_a_picture_has_the_format_of_its_name_and_is_written_whole(tmp_path: Path) -> None:
    from matplotlib.figure import Figure

    pictures.check_picture(None)
    for ending, begin in {".SVG": b"<?xml", ".pdf": b"%PDF", ".png": b"\x89PNG"}.items():
        pictures.check_picture(file := tmp_path / f"a{ending}")
        pictures.write_picture(file, Figure(figsize=(1, 1)))
        assert file.read_bytes().startswith(begin)
    assert int.from_bytes((tmp_path / "a.png").read_bytes()[16:20]) == 150  # dots an inch
    with pytest.raises(InputError, match=r"--out a\.jpg: unsupported extension \(accepted: \.png, \.svg, \.pdf\)"):
        pictures.check_picture(Path("a.jpg"))
