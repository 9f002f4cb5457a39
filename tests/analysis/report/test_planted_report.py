"""A report of planted runs: its laws are the planted ones, and all that it says and draws is in `planted.json`.

Where that is meant to change, `python -m tests.analysis.report.test_planted_report` rewrites it; its diff is read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from bs4 import BeautifulSoup

from sweeplaw.analysis.report import content, other_formats, page, report
from sweeplaw.analysis.report.panels.runs import times_card
from sweeplaw.analysis.report.paper.named import named_figures
from sweeplaw.analysis.tables.display import finite
from tests.analysis.report import planted
from tests.drawings import abridged, card_drawn, drawn
from tests.test_golden import differences

EXPECTED = Path(__file__).with_name("planted.json")
ROUNDING = 0.005  # of numbers that rest on draws, whose last digits are the processor's

PARTS = ("values", "cards", "times", "figures", "page", "markdown", "pictures", "latex")

pytestmark = pytest.mark.heavy


def said() -> dict[str, Any]:
    """Return the values of the report, its cards, its figures, and the lines of its page outside of figures."""
    made = planted.made()
    values = finite(report.report_values(made))
    cards = content.family_cards(made.sections[0], values["families"][0], made.tables.curves, "f")
    with patch.object(page, "family_cards", lambda *_: cards):
        whole = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "now", page.page(made, values))
    # Of how many starts, a processor's digits decide.
    whole = re.sub(r"\d+ of \d+ starts of the fit", "starts of the fit", whole)
    html = BeautifulSoup(whole, "html.parser")
    for unsaid in html.find_all(["figure", "script", "style", "svg"]):
        unsaid.decompose()
    text, pictures = other_formats.markdown(whole)
    found = {
        "values": values,
        "cards": {where: [card_drawn(one) for one in some] for where, some in cards.items()},
        "times": [card_drawn(one) for one in [times_card(made.everything, "times")] if one],
        "figures": {name: drawn(draw()) for name, draw in named_figures(made).items()},
        "page": html.get_text("\n", strip=True).split("\n"),
        "markdown": text.split("\n"),
        "pictures": [[name, content[:60]] for name, content in pictures.items()],
        "latex": other_formats.latex_tables(whole).split("\n"),
    }
    return dict(abridged(json.loads(json.dumps(found, default=str))))


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return said()


@pytest.mark.parametrize("part", PARTS)
def test_a_report_says_and_draws_what_it_is_meant_to(found: dict[str, Any], part: str) -> None:
    expected = json.loads(EXPECTED.read_text(encoding="utf-8"))[part]
    assert list(differences(expected, found[part], exact=False, relative=ROUNDING, absolute=1e-7)) == []


def test_its_laws_are_the_planted_ones(found: dict[str, Any]) -> None:
    (family,) = found["values"]["families"]
    for name, value in planted.LAW.items():
        assert family["surface"]["params"][name] == pytest.approx(value, rel=0.05)
        assert family["surface"]["intervals"][name]["low"] < value < family["surface"]["intervals"][name]["high"]
    laws = family["hyperlaws"]["laws"]
    assert laws["lr"]["exponents"] == pytest.approx({"N": -0.2, "tokens": 0.0}, abs=0.02)
    assert laws["batch"]["exponents"] == pytest.approx({"tokens": 0.2}, abs=0.02)  # of N it has none to tell
    for cell in family["optima"]:
        best = planted.best_setting(cell["cell"]["N"], cell["cell"]["tokens"])
        fitted = [cell["knobs"][name]["fitted"] for name in ("lr", "batch")]
        assert fitted == pytest.approx(best, rel=0.15)


if __name__ == "__main__":
    lines = (f"{json.dumps(name)}: {json.dumps(part, ensure_ascii=False)}" for name, part in said().items())
    EXPECTED.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
