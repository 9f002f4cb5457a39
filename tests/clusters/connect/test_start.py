"""Starting Ray: its failures become one sentence, its output is passed on where it is of use."""

from __future__ import annotations

import os
import subprocess
import warnings

import pytest

from sweeplaw.clusters.connect.errors import ConnectError
from sweeplaw.clusters.connect.start import start


def failing(error: Exception, noise: str = "") -> None:
    subprocess.run(["printf", "%s", noise], stdout=2, check=True)  # as compiled code does: to the file descriptor
    raise error


@pytest.mark.parametrize(
    ("error", "noise", "sentence"),
    [
        (ConnectionError("Failed to connect to Ray cluster at h:1"), "InvalidAuthToken", "refuses the token"),
        (
            ConnectionError("Failed to connect to Ray cluster at h:1"),
            "",
            "accepts no driver; the usual cause is the token",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with Ray: 2.9"),
            "",
            "runs other versions of Ray or Python",
        ),
        (
            RuntimeError("Version mismatch: The cluster was started with Ray: 2.9"),
            "[x] Loaded authentication token from file: /x/token\n",
            "runs other versions of Ray or Python",
        ),
        (ValueError("Ray Client requires pip package `ray[client]`"), "", "needs a part of Ray that is not installed"),
        (RuntimeError("Can't find a `node_ip_address.json`"), "", "has no node on this machine"),
        (OSError(28, "No space left on device", "/tmp/ray"), "", "has no room on its disk"),
        (Exception("The current node timed out"), "[x] Failed flush to file x.log: No space left on device", "no room"),
        (Exception("The current node timed out during startup"), "", "cannot be used: The current node timed out"),
        (TimeoutError("The current node timed out during startup"), "", "cannot be used: The current node timed out"),
    ],
)
def test_each_failure_is_reported_with_the_fix(
    error: Exception, noise: str, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConnectError, match=sentence):
        start(lambda: failing(error, noise), "h:1")
    assert capfd.readouterr() == ("", "")


def test_the_reason_for_an_error_without_text_is_that_of_the_error_before_it() -> None:
    """Ray 2.52 raises such an error for a wrong token in a process that was connected before."""

    def refused() -> None:
        try:
            raise RuntimeError("Failed to get cluster ID from GCS server: InvalidAuthToken")
        except RuntimeError:
            raise ConnectionError  # noqa: B904 - as Ray does

    with pytest.raises(ConnectError, match=r"h:1 refuses the token .*: Failed to get cluster ID from GCS server"):
        start(refused, "h:1")


def test_our_own_errors_are_not_reported_as_the_clusters() -> None:
    with pytest.raises(KeyError):
        start(lambda: failing(KeyError("x")), "h:1")


def test_output_of_a_successful_start_is_passed_on_without_notes_of_no_use(capfd: pytest.CaptureFixture[str]) -> None:
    """Ray 2.52 notes that it loaded the token, and gives a tip about a variable that is set."""

    def init() -> None:
        os.write(2, b"[x] Loaded authentication token from file: /x/token\na warning of Ray\n")
        warnings.warn("Tip: In future versions of Ray, another default applies", FutureWarning, stacklevel=1)

    start(init, "h:1")
    assert capfd.readouterr().err == "a warning of Ray\n"
