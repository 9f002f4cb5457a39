"""Profiles: loading, faults, and the number of packs that run at once."""

from __future__ import annotations

import hashlib
import math
import pickle
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.profile.capacity import Capacity, usable_cores, usable_memory
from sweeplaw.clusters.profile.profile import Profile, load, parse, to_toml, trial_settings
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

EXAMPLES = sorted((ROOT / "examples" / "clusters").glob("*.toml"))
SLURM = {"kind": "slurm", "hardware": "a100-80", "gpus_per_trial": 1}


def faults(content: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        parse(content, name="x", where="x.toml")
    return caught.value.faults


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_profile_loads(path: Path) -> None:
    profile = load(path)
    assert profile.name == path.stem
    assert profile.kind in ("ray", "local") or profile.planned_slots()


def numbers(schema: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every field of a JSON schema that takes a number."""
    if isinstance(schema, dict) and schema.get("type") in ("integer", "number"):
        yield path, schema
    for name, below in schema.items() if isinstance(schema, dict) else enumerate(schema):
        if isinstance(below, dict | list):
            yield from numbers(below, f"{path}/{name}")


def test_every_number_of_a_profile_has_a_least_and_a_greatest_value() -> None:
    found = dict(numbers(Profile.model_json_schema()))
    assert len(found) > 20
    least, greatest = {"minimum", "exclusiveMinimum", "ge", "gt"}, {"maximum", "exclusiveMaximum", "le", "lt"}
    assert [path for path, field in found.items() if not (least & set(field) and greatest & set(field))] == []


def test_the_built_in_names_need_no_file() -> None:
    assert load("inline").planned_slots() == 1
    assert load("local").planned_slots() == usable_cores()


def test_all_faults_are_in_one_message() -> None:
    found = faults(
        {
            **SLURM,
            "hardware": "h10",
            "gpus_per_trial": 1.5,
            "slurm": {"nodes": "4", "cpus_per_nod": 3, "partition": "a b", "setup": ["a\nb"], "time": "1h"},
        }
    )
    text = "\n".join(found)
    assert len(found) == 8
    for part in (
        "hardware = 'h10'",
        "1.5 is more than one GPU",
        "cpus_per_node is missing",
        "did you mean 'cpus_per_node'",
    ):
        assert part in text
    for part in ("slurm.nodes = '4'", "slurm.partition = 'a b'", "line break", "slurm.time = '1h'"):
        assert part in text


@pytest.mark.heavy
@pytest.mark.parametrize("size", [1, 3, 8])
def test_shards_divide_the_trials(size: int) -> None:
    """Every trial is in exactly one shard, and the shards are about equal."""
    ids = [hashlib.sha256(bytes([number % 256, number // 256])).hexdigest() for number in range(2000)]
    profiles = [parse({"kind": "local", "shard": f"{part}/{size}"}, name="x") for part in range(size)]
    shards = [[trial_id for trial_id in ids if profile.in_shard(trial_id)] for profile in profiles]
    assert sorted(trial_id for shard in shards for trial_id in shard) == sorted(ids)
    assert all(abs(len(shard) - len(ids) / size) < 6 * (len(ids) / size) ** 0.5 + 1 for shard in shards)
    assert all(parse({"kind": "local"}, name="x").in_shard(trial_id) for trial_id in ids)
    leading = [int.from_bytes(bytes.fromhex(trial_id)[:8], "big") for trial_id in ids]  # the same on every version
    assert shards[0] == [trial_id for trial_id, number in zip(ids, leading, strict=True) if number % size == 0]


@pytest.mark.parametrize("shard", ["8/8", "1", "-1/2", "a/b", "1/0", ""])
@pytest.mark.parametrize("key", ["shard", "share"])
def test_an_invalid_shard_is_refused(key: str, shard: str) -> None:
    with pytest.raises(InputError, match="is not a shard of the trials"):
        parse({"kind": "local", key: shard}, name="x")


def test_a_shard_is_read_by_its_old_name_too_but_not_by_both() -> None:
    by_new_name, by_old_name = (parse({"kind": "local", key: "1/4"}, name="x") for key in ("shard", "share"))
    assert by_new_name == by_old_name
    assert by_new_name.shard == "1/4"
    assert parse({"kind": "local", "share": None}, name="x").shard is None
    (fault,) = faults({"kind": "local", "shard": "1/4", "share": "1/4"})
    assert fault == "share is not a setting of a profile; it is the old name of shard, which is given as well"


@pytest.mark.parametrize("share", [0.25, 0.5, 1, 2, 8])
def test_parts_of_a_gpu_and_whole_gpus_are_accepted(share: float) -> None:
    table = {"nodes": 2, "cpus_per_node": 16, "gpus_per_node": 8}
    profile = parse({**SLURM, "gpus_per_trial": share, "slurm": table}, name="x")
    assert profile.planned_slots() == min(2 * 16, int(2 * 8 / share))
    assert profile.devices_per_slot == share


def test_inline_has_the_resources_of_its_one_trial() -> None:
    profile = parse({"kind": "inline", "hardware": "l4", "gpus_per_trial": 0.25, "cpus_per_trial": 3}, name="x")
    assert profile.planned_nodes() == (Capacity(3, 1, usable_memory()),)
    assert profile.planned_slots() == 1


def test_each_job_of_an_array_is_a_launch_with_nodes_of_its_own() -> None:
    profile = parse({"kind": "slurm", "slurm": {"nodes": 2, "cpus_per_node": 16, "array": 5}}, name="x")
    assert profile.planned_nodes() == (Capacity(16),) * 2
    assert profile.planned_slots() == 5 * 2 * 16


def test_a_pack_never_straddles_two_nodes_and_gpus_are_shared_whole() -> None:
    profile = parse({"kind": "local", "hardware": "l4", "gpus_per_trial": 0.4, "cpus_per_trial": 3}, name="x")
    assert profile.slots_on([Capacity(6, 1)] * 2) == 4  # two of 0.4 on each GPU, and two of 3 cores on each node
    assert profile.slots_on([Capacity(2, 4)] * 10) == 0
    assert parse({"kind": "local", "slots": 3}, name="x").slots_on([Capacity(8, 0)]) == 3


def test_a_trial_that_fits_no_node_is_refused_with_the_resources_of_a_node() -> None:
    (fault,) = faults({**SLURM, "gpus_per_trial": 16, "slurm": {"nodes": 9, "cpus_per_node": 64, "gpus_per_node": 8}})
    assert "16 GPUs fits no node (a node has 64 cores and 8 GPUs)" in fault


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"kind": "ray"}, "needs address"),
        ({"kind": "local", "address": "a:1"}, "is not allowed with kind = 'local'"),
        ({"kind": "slurm"}, "needs a table [slurm]"),
        ({"kind": "local", "slurm": {"cpus_per_node": 1}}, "table [slurm] is not allowed with"),
        ({"kind": "inline", "slots": 2}, "one pack at a time"),
        ({"kind": "local", "hardware": "h200"}, "needs gpus_per_trial"),
        ({"kind": "local", "gpus_per_trial": 1}, "needs hardware with a GPU"),
        ({"kind": "loca"}, "kind = 'loca'"),
        ({"kind": "local", "temp_dir": "/tmp/../etc"}, "temp_dir"),
        ({"kind": "local", "temp_dir": "here"}, "absolute path"),
        ({"kind": "local", "max_attempts": 2}, "[retry] worker_died"),
        ({"kind": "local", "memory_per_trial": "many"}, "not a size of memory"),
        ({"kind": "local", "memory_per_trial": "9" * 400 + " GiB"}, "not a size of memory"),
        ({"kind": "local", "memory_per_trial": math.nan}, "not a size of memory"),
        ({"kind": "local", "memory_per_trial": "9999999999 TiB"}, "less than or equal to 1152921504606846976"),
        ({"kind": "local", "gpus_per_trial": math.inf}, "gpus_per_trial = inf: input should be a finite number"),
        ({"kind": "local", "gpus_per_trial": 1e-300}, "less than Ray grants"),
        ({"kind": "local", "cpus_per_trial": 1e-320}, "cpus_per_trial = 1e-320"),
        ({"kind": "local", "cpus_per_trial": math.nan}, "cpus_per_trial = nan"),
        ({"kind": "local", "patience_seconds": math.inf}, "patience_seconds = inf"),
        ({"kind": "local", "grace_seconds": 1e300}, "grace_seconds = 1e+300"),
        ({"kind": "local", "cpus": 2**62}, "cpus = 4611686018427387904"),
        ({"kind": "local", "share": "9/8"}, "share = '9/8' is not a shard"),
        ({"kind": "local", "shard": "9/8"}, "shard = '9/8' is not a shard"),
        ({"kind": "local", "shard": f"{'1' * 5000}/{'2' * 5000}"}, "is not a shard"),
        ({"kind": "slurm", "slurm": {"cpus_per_node": 1, "nodes": 10**12}}, "slurm.nodes = 1000000000000"),
    ],
)
def test_an_unusable_profile_is_refused_with_a_sentence(content: dict[str, Any], sentence: str) -> None:
    assert sentence in "\n".join(faults(content))


@pytest.mark.parametrize(
    ("text", "size"), [("16 GiB", 2**34), ("500MB", 5 * 10**8), (4096, 4096), ("1.5 TiB", 3 * 2**39)]
)
def test_memory_is_read_in_both_kinds_of_units(text: str | int, size: int) -> None:
    assert parse({"kind": "local", "memory_per_trial": text}, name="x").memory_per_trial == size


def test_files_that_are_not_profiles_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "broken.toml").write_text("kind = ")
    for name, sentence in [("broken.toml", "not valid TOML"), ("absent.toml", "No such file"), (".", "is not known")]:
        with pytest.raises(InputError, match=sentence):
            load(tmp_path / name if name.endswith(".toml") else name)
    with pytest.raises(InputError, match="did you mean 'local'"):
        load("locl")


def test_profiles_are_found_by_name_in_the_config_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "sweeplaw" / "clusters").mkdir(parents=True)
    (tmp_path / "sweeplaw" / "clusters" / "mine.toml").write_text('kind = "local"\ncpus = 3\n')
    assert load("mine").cpus == 3


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.booleans(), st.floats(-1e300, 1e300))
def test_settings_survive_toml(text: str, whole: int, flag: bool, number: float) -> None:
    settings = {"a": text.replace("\x7f", ""), "b": whole, "c": flag, "d": number, "e": None}
    back = tomllib.loads(to_toml(settings))
    assert back == {name: value for name, value in settings.items() if value is not None}


def test_the_settings_of_trials_reach_the_requested_cluster() -> None:
    profile = load(next(path for path in EXAMPLES if path.stem == "slurm"))
    joined = parse({**tomllib.loads(to_toml(trial_settings(profile))), "kind": "ray", "address": "auto"}, name="y")
    for name in ("hardware", "gpus_per_trial", "cpus_per_trial", "patience_seconds"):
        assert getattr(joined, name) == getattr(profile, name)


def test_errors_and_profiles_cross_processes() -> None:
    error = ConnectError(["a", "b"], where="x.toml")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.faults) == (ConnectError, ("a", "b"))
    assert str(error) == "x.toml: 2 faults\n  - a\n  - b"
    profile = load("local")
    assert pickle.loads(pickle.dumps(profile)) == profile
    assert isinstance(profile, Profile)
