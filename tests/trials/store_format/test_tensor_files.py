"""Files of tensors: who may read them, and what is said where they cannot be written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from pyarrow.fs import LocalFileSystem
from safetensors import safe_open

from sweeplaw.trials.store_format import tensor_files
from sweeplaw.trials.store_format.location import Location, locate

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


@pytest.fixture
def objects(tmp_path):
    """A folder as seen on an object store, where a file is an upload."""
    (tmp_path / "objects" / "weights").mkdir(parents=True)
    return Location("mock://objects", LocalFileSystem(), str(tmp_path / "objects"), local=False)


@pytest.mark.heavy
def test_tensors_go_to_an_object_store_and_back_a_piece_at_a_time(objects, monkeypatch):
    large = {"x": torch.arange(2**21, dtype=torch.float32)}  # 8 MiB
    monkeypatch.setattr(tensor_files, "PIECE_BYTES", 2**16)
    tensor_files.write(objects, "weights/w.safetensors", large, {"a": "b"})
    tracemalloc.start()
    with tensor_files.at_path(objects, "weights/w.safetensors") as path:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert path != objects.path("weights/w.safetensors")
        with safe_open(path, "pt") as file:
            assert file.metadata() == {"a": "b"}
            assert torch.equal(file.get_tensor("x"), large["x"])
    assert not os.path.exists(path), "a copy is gone afterwards"
    assert peak < 2**20
    with tensor_files.opened(objects, "weights/w.safetensors") as file:
        assert file.read() == (content := Path(objects.path("weights/w.safetensors")).read_bytes())
    monkeypatch.setattr(tensor_files, "PIECE_BYTES", 2**30)
    tensor_files.write(objects, "weights/one.safetensors", large, {"a": "b"})
    assert Path(objects.path("weights/one.safetensors")).read_bytes() == content


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("rows", [0, 1, 3, 1000])
def test_rows_are_the_same_file_wherever_they_are_written(objects, monkeypatch, local, rows):
    from safetensors.numpy import load

    monkeypatch.setattr(tensor_files, "PIECE_BYTES", 12)  # a row has ten bytes: one at a time
    location = locate(objects.root) if local else objects
    values = np.arange(5 * rows, dtype=np.uint16).reshape(rows, 5)
    tensor_files.write_rows(location, "weights/r.safetensors", "tokens", values, "U16", {"form": "text"})
    content = Path(objects.path("weights/r.safetensors")).read_bytes()
    assert np.array_equal(load(content)["tokens"], values)
    header = int.from_bytes(content[:8], "little")
    assert header % 8 == 0, "the tensor is aligned"
    assert len(content) == 8 + header + values.nbytes


def test_scratch_rows_lie_on_the_disk_whose_free_space_is_asked_for(objects, tmp_path):
    local = locate(str(tmp_path / "store"))
    with tensor_files.scratch_rows(local, (3, 2), np.int32) as rows:
        assert os.listdir(local.root) == []
        assert (rows.shape, rows.dtype.name, rows.tolist()) == ((3, 2), "int32", [[0, 0]] * 3)
    with tensor_files.scratch_rows(objects, (3, 2), np.int32) as rows:
        assert os.listdir(objects.root) == ["weights"], "an object store has no scratch"
        rows[2, 1] = 7
    for location in (local, objects):
        assert tensor_files.free_bytes(location) > 0


@pytest.mark.parametrize(
    ("seen", "known"),
    [
        ("sweeplaw weights 1", True), ("sweeplaw weights 12", True), ("sweeplaw weights 0", False), (None, False),
        ("sweeplaw weights", False), ("sweeplaw texts 1", False), ("sweeplaw weights 1 ", False), (1, False),
    ],
)  # fmt: skip
def test_a_version_of_a_format_is_its_name_and_a_number(seen, known):
    assert tensor_files.is_version_of("sweeplaw weights 3", seen) is known


def test_the_place_of_a_folder_is_the_folder_around_it(tmp_path):
    location, name = tensor_files.place(str(tmp_path / "store" / "weights"), "w.safetensors")
    assert (location.root, name) == (str(tmp_path / "store"), "weights/w.safetensors")
    assert location.uri.endswith("/store")


def test_the_checksum_is_that_of_the_values_in_their_order():
    values = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    assert tensor_files.checksum(values.T) == zlib.crc32(values.numpy().T.tobytes())
