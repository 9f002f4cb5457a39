"""The page on paper: it prints to few pages, two cards beside each other, and no card is cut in two."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sweeplaw.analysis.report import page
from tests.analysis.report import planted

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FOUND = shutil.which("pdftotext")

pytestmark = [pytest.mark.heavy, pytest.mark.process]


@pytest.mark.skipif(CHROMIUM is None or FOUND is None, reason="no Chromium or no pdftotext")
def test_the_planted_report_prints_with_cards_whole_and_half_cards_in_pairs(tmp_path: Path) -> None:
    html, _ = page.write(planted.made(), tmp_path)
    assert CHROMIUM is not None
    assert FOUND is not None
    subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         f"--print-to-pdf={tmp_path / 'page.pdf'}", html.as_uri()],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    done = subprocess.run([FOUND, "-layout", str(tmp_path / "page.pdf"), "-"], check=True, capture_output=True)
    pages = done.stdout.decode("utf-8").split("\f")[:-1]
    assert all(text.strip() for text in pages)
    assert len(pages) <= 11  # 15 in the size of the screen, 20 with every card on a line of its own
    first = next(text for text in pages if "Larger models" in text)
    line = next(line for line in first.splitlines() if "Larger models" in line)
    assert "More data" in line
    maps = next(text for text in pages if "Following the laws costs" in text)
    assert "192 settings, means over seeds" in maps  # the caption, below the last map
