"""Files of tensors: who may read them, and what is said where they cannot be written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
import torch

from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.location import locate

TENSORS = {"x": torch.arange(5000, dtype=torch.float32)}


@pytest.mark.parametrize("umask", [0o022, 0o007, 0o077])
def test_a_file_may_be_read_by_whom_the_umask_allows(tmp_path, umask):
    """As every other file of a store: weights are for all that share it."""
    before = os.umask(umask)
    try:
        tensor_files.write(locate(str(tmp_path)), "weights/w.safetensors", TENSORS, {})
        (tmp_path / "weights/w.json").write_text("{}")
    finally:
        os.umask(before)
    modes = {(tmp_path / "weights" / name).stat().st_mode for name in ("w.safetensors", "w.json")}
    assert len(modes) == 1
    assert sorted(os.listdir(tmp_path / "weights")) == ["w.json", "w.safetensors"]


@pytest.mark.skipif(sys.platform != "linux", reason="of the limit on the size of files")
@pytest.mark.process
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path):
    """In a process of its own, whose files may have a few kilobytes."""
    source = f"""
import resource, signal, torch
from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.location import locate
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    tensor_files.write(locate({str(tmp_path)!r}), "weights/w.safetensors", {{"x": torch.zeros(5000)}}, {{}})
except OSError as error:
    print(error.errno, error)
"""
    found = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    code = errno.EFBIG
    assert found == f"{code} [Errno {code}] {os.strerror(code)}: '{tmp_path}/weights/w.safetensors'\n"
    assert os.listdir(tmp_path / "weights") == []


def test_rows_are_written_from_the_disk_a_piece_at_a_time(tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    monkeypatch.setattr(tensor_files, "PIECE_BYTES", 2**16)
    store = locate(str(tmp_path))
    tracemalloc.start()
    with tensor_files.scratch_rows(store, (4096, 513), np.uint16) as rows:
        rows[:] = np.arange(513, dtype=np.uint16)
        rows[7] += 5
        tensor_files.write_rows(store, "texts/one.safetensors", "tokens", rows, "U16", {"a": "b"})
        assert [path.name for path in tmp_path.iterdir()] == ["texts"]  # the scratch file has no name
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # of 4 MiB
    found = load_file(tmp_path / "texts/one.safetensors")["tokens"]
    assert found.shape == (4096, 513)
    assert np.array_equal(found[6:8], [np.arange(513), np.arange(513) + 5])
