"""The checkpoints of a store: links among them are not followed, whatever they lead to."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sweeplaw.trials.store_format import checkpoint, tensor_files
from sweeplaw.trials.store_format.checkpoint import Saved


def state_of(folder: Path) -> dict[str, tuple[int, ...]]:
    found = {str(path): path.lstat() for path in folder.rglob("*")}
    return {name: (at.st_ino, at.st_mode, at.st_size, at.st_mtime_ns, at.st_ctime_ns) for name, at in found.items()}


def test_a_checkpoint_that_is_a_link_is_not_resumed_from(tmp_path, caplog):
    outside, folder = tmp_path / "outside", tmp_path / "store/checkpoints"
    folder.mkdir(parents=True)
    checkpoint.save(str(outside), "t", "run", Saved({"x": torch.zeros(1)}, {}))
    before = state_of(outside)
    for target in (outside / "t.safetensors", Path("/dev/zero")):
        (folder / "t.safetensors").symlink_to(target)
        assert checkpoint.load(str(folder), "t", "run") is None
        assert "symbolic link" in caplog.text
        (folder / "t.safetensors").unlink()
    (folder / "t.safetensors").symlink_to(outside / "t.safetensors")
    checkpoint.save(str(folder), "t", "run", Saved({"x": torch.ones(1)}, {}))
    assert state_of(outside) == before
    assert checkpoint.load(str(folder), "t", "run") is not None


def test_removing_a_checkpoint_removes_links_and_not_what_they_lead_to(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "store/checkpoints"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep/file").write_text("of a user")
    folder.mkdir(parents=True)
    before = state_of(outside)
    (folder / "t").symlink_to(outside)
    checkpoint.remove(str(folder), "t")
    (folder / "t/inner").mkdir(parents=True)
    (folder / "t/inner/link").symlink_to(outside)
    (folder / "t.safetensors").symlink_to(outside / "deep/file")
    checkpoint.remove(str(folder), "t")
    os.mkfifo(folder / "t")
    checkpoint.remove(str(folder), "t")
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.symlink_to(outside)
    checkpoint.remove(str(folder), "deep")
    assert state_of(outside) == before


def test_the_folder_of_a_trials_own_checkpoints_is_no_link(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "store/checkpoints"
    outside.mkdir()
    folder.mkdir(parents=True)
    (folder / "t").symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        checkpoint.make_own_folder(str(folder / "t"))
    (folder / "t").unlink()
    checkpoint.make_own_folder(str(folder / "t"))
    assert (folder / "t").is_dir()
    (folder / "t").rmdir()
    folder.rmdir()
    folder.symlink_to(outside)
    with pytest.raises(OSError, match="symbolic link"):
        checkpoint.make_own_folder(str(folder / "t"))
    assert list(outside.iterdir()) == []


def test_the_age_of_a_checkpoint_counts_files_and_follows_no_links(tmp_path):
    outside, folder = tmp_path / "outside", tmp_path / "store/checkpoints"
    outside.mkdir()
    (outside / "new").touch()
    (folder / "t").mkdir(parents=True)
    assert checkpoint.written_at(str(folder), "t") is None
    (folder / "t/step1").touch()
    os.utime(folder / "t/step1", (1000, 1000))
    (folder / "t/loop").symlink_to(folder)
    (folder / "t/out").symlink_to(outside)
    assert checkpoint.written_at(str(folder), "t") == dt.datetime.fromtimestamp(1000, dt.UTC)


def test_a_checkpoint_of_ours_alone_has_a_time(tmp_path: Path) -> None:
    """Without the folder of a script's own checkpoints beside it."""
    (tmp_path / "checkpoints").mkdir()
    ours = tmp_path / "checkpoints" / f"abc{tensor_files.SUFFIX}"
    ours.write_bytes(b"")
    at = dt.datetime.fromtimestamp(ours.stat().st_mtime, dt.UTC)
    assert checkpoint.written_at(str(tmp_path / "checkpoints"), "abc") == at
    assert checkpoint.written_at(str(tmp_path / "checkpoints"), "def") is None


@pytest.mark.parametrize(
    "metadata",
    [{}, {"note": "{}"}, *({"note": "{}", "checksums": text} for text in ("[" * 100_000, "[1]", "3", "{", "null"))],
)
def test_a_checkpoint_whose_notes_are_damaged_is_not_resumed_from(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, metadata: dict[str, str]
) -> None:
    written = {"format": checkpoint.FORMAT, "identity": "run", **metadata}
    save_file({"x": torch.zeros(1)}, tmp_path / f"t{tensor_files.SUFFIX}", written)
    assert checkpoint.load(str(tmp_path), "t", "run") is None
    assert "t.safetensors" in caplog.text or "trial t" in caplog.text
