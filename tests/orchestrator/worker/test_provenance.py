"""The code that a trial ran, and the name of a device that no library reports: the processor's model."""

import platform
import subprocess
from importlib import resources
from pathlib import Path

import pytest

from sweeplaw.orchestrator.worker.provenance import commit, device_name


@pytest.mark.parametrize(
    ("cpuinfo", "processor", "name"),
    [
        ("processor\t: 0\nmodel name\t: Xeon: 8 cores\nprocessor\t: 1\nmodel name\t: Other\n", "x", "Xeon: 8 cores"),
        ("processor\t: 0\n", "x", "arm64"),
        (None, "arm", "arm"),
        (None, "", "arm64"),
    ],
    ids=["Linux", "Linux on ARM", "macOS", "no name at all"],
)
def test_a_cpu_is_named_by_the_best_source_of_its_system(monkeypatch, cpuinfo, processor, name):
    def read_text(path):
        if cpuinfo is None:
            raise FileNotFoundError(path)
        return cpuinfo

    monkeypatch.setattr(Path, "read_text", read_text)
    monkeypatch.setattr(platform, "processor", lambda: processor)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert device_name("cpu") == name


@pytest.mark.process
def test_the_commit_is_that_of_the_checkout_and_a_plus_says_that_tracked_files_differ(tmp_path, monkeypatch):
    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", tmp_path, *identity, *words], capture_output=True, check=True).stdout

    (tmp_path / "sweeplaw").mkdir()
    code = tmp_path / "sweeplaw" / "__init__.py"
    code.write_text("")
    monkeypatch.setattr(resources, "files", lambda package: code.parent)
    assert commit.__wrapped__() is None
    git("init", "--quiet")
    assert commit.__wrapped__() is None  # nothing is committed yet
    git("add", ".")
    git("commit", "--quiet", "--message", "all")
    head = git("rev-parse", "HEAD").decode().strip()
    (tmp_path / "notes.txt").write_text("not tracked")
    assert commit.__wrapped__() == head
    code.write_text("changed = True\n")
    assert commit.__wrapped__() == f"{head}+"
