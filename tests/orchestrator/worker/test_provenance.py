"""The name of a device that no library reports: the processor's model."""

import platform
from pathlib import Path

import pytest

from sweeplaw.orchestrator.worker.provenance import device_name


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
