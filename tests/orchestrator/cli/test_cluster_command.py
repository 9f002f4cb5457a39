"""`sweeplaw cluster` writes what a cluster needs, and rejects bad input before anything is written or queued."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sweeplaw.orchestrator.cli import app
from sweeplaw.trials.errors import InputError
from tests.paths import ROOT

EXAMPLES = ROOT / "examples" / "clusters"
SWEEP = ROOT / "orchestrator" / "sweeps" / "surrogate.toml"


def run(*words: object) -> str:
    result = CliRunner().invoke(app, ["cluster", *map(str, words)], catch_exceptions=True)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


@pytest.mark.heavy
def test_slurm_writes_a_job_that_launches_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    output = run("slurm", EXAMPLES / "slurm.toml", SWEEP, "--store", "results/s", "--out", "job")
    assert str(tmp_path / "job" / "job.sbatch") in output
    command = json.loads((tmp_path / "job" / "job.json").read_text())["command"]
    assert command == [
        *("sweeplaw", "launch", str(SWEEP)),
        *("--cluster", "{cluster}", "--store", str(tmp_path / "results" / "s")),
    ]


@pytest.mark.heavy
@pytest.mark.parametrize("kind", ["kuberay", "aws", "gcp"])
def test_other_kinds_write_their_files_and_print_how_to_start(kind: str, tmp_path: Path) -> None:
    output = run(kind, EXAMPLES / f"{kind}.toml", SWEEP, "--store", "s3://bucket/x", "--out", tmp_path)
    assert "kubectl apply -f" in output if kind == "kuberay" else "ray exec --start --stop" in output


@pytest.mark.heavy
@pytest.mark.parametrize("store", ["results/x", "/data/../tmp/x", "/tmp/x"])
def test_a_store_that_would_be_lost_with_the_machines_is_rejected(store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"would be deleted with the machines .* or a folder under /data"):
        run("kuberay", EXAMPLES / "kuberay.toml", SWEEP, "--store", store, "--out", tmp_path)


@pytest.mark.heavy
@pytest.mark.parametrize("store", ["s3://key:word@bucket/x", "s3://bucket/x?secret_key=abc"])
def test_a_store_whose_uri_holds_a_credential_is_rejected(store: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds a credential"):
        run("slurm", EXAMPLES / "slurm.toml", SWEEP, "--store", store, "--out", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_a_profile_of_another_kind_and_an_invalid_sweep_are_rejected_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="kind = 'slurm' does not fit this command"):
        run("kuberay", EXAMPLES / "slurm.toml", SWEEP, "--store", "s3://b/x", "--out", tmp_path)
    broken = tmp_path / "broken.toml"
    broken.write_text("name = 1\n")
    with pytest.raises(InputError):
        run("slurm", EXAMPLES / "slurm.toml", broken, "--store", "x", "--out", tmp_path / "job")
    assert not (tmp_path / "job").exists()


@pytest.mark.heavy
def test_a_trial_that_fits_no_node_is_rejected_before_anything_is_written(tmp_path: Path) -> None:
    """The message names the trial, its need and the memory of a device, before hours in the queue."""
    (tmp_path / "l4.toml").write_text(
        'kind = "slurm"\nhardware = "l4"\ngpus_per_trial = 1\n'
        "[slurm]\nnodes = 1\ncpus_per_node = 8\ngpus_per_node = 1\n"
    )
    large = tmp_path / "large.toml"
    large.write_text(
        'name = "large"\n[scientific]\nparams = [1_000_000, 20_000_000_000]\nunique_tokens = [4096]\n'
        '[fixed]\ncorpus = "stdlib"\n'
    )
    with pytest.raises(
        InputError, match=r"a trial of 20,0\d\d,\d\d\d,\d\d\d parameters needs about .* GB, .* l4 .* 21\.6 GB"
    ):
        run("slurm", tmp_path / "l4.toml", large, "--store", "x", "--out", tmp_path / "job")
    assert not (tmp_path / "job").exists()
