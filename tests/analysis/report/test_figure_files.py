"""`sweeplaw figure`: every figure of a report by name, as a file that a paper can hold."""

import re
from pathlib import Path
from typing import Any

import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.text import Text

from sweeplaw.analysis.report import report
from sweeplaw.analysis.report.paper import figures
from sweeplaw.analysis.report.paper.named import named_figures, write_figure
from sweeplaw.analysis.report.paper.possible import possible_figures
from sweeplaw.analysis.report.read import read_families
from sweeplaw.clusters.profile import profile
from sweeplaw.orchestrator.launch.launch import launch
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

pytestmark = pytest.mark.heavy

SWEEP = """
name = "figures"
workload = "surrogate"
[scientific]
params = { log = [1e7, 1e9], num = 4 }
tokens = { log = [1e9, 1e11], num = 4 }
[nuisance]
lr = { log = [3e-4, 3e-2], num = 4 }
[fixed]
weight_decay = 0.1
batch_sequences = 128
"""


class Silent:
    """Observer of a launch that ignores everything."""

    def started(self, todo: Any, already: Any, cluster: Any) -> None:
        pass

    def recorded(self, rows: Any) -> None:
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> report.Report:
    path = tmp_path_factory.mktemp("figures") / "s"
    launch(plan(parse(SWEEP)), Store.open(path, create=True), profile.load("inline"), Silent())
    return report.make(path)


def test_every_figure_has_a_name_and_can_be_drawn(made: report.Report) -> None:
    drawn = {name: draw() for name, draw in named_figures(made).items()}
    assert list(drawn) == ["loss_n", "loss_d", "residuals", "knob_lr", "hyperlaw_lines", "curves", "one_setting"]
    assert all(figure.axes for figure in drawn.values())
    known = possible_figures(read_families(made.source, where=None, loss="val_loss", x=None, verify=False))
    assert set(drawn) <= set(known)


def test_a_file_has_the_size_asked_for_and_embeds_its_fonts(made: report.Report, tmp_path: Path) -> None:
    write_figure(made, "loss_n", tmp_path / "x.pdf", (3.5, 2.5))
    content = (tmp_path / "x.pdf").read_bytes()
    (box,) = re.findall(rb"/MediaBox \[ ([^\]]*)\]", content)
    assert [float(part) for part in box.split()] == [0, 0, 3.5 * 72, 2.5 * 72]
    assert b"/FontFile2" in content
    write_figure(made, "knob_lr", tmp_path / "x.svg")
    assert "<text" not in (tmp_path / "x.svg").read_text()  # letters are paths, so no font is needed


def test_a_style_of_ones_own_goes_over_ours(made: report.Report, tmp_path: Path) -> None:
    style = tmp_path / "mine.mplstyle"
    style.write_text("axes.edgecolor: ff0000\n")
    write_figure(made, "loss_d", tmp_path / "mine.svg", style_file=style)
    write_figure(made, "loss_d", tmp_path / "ours.svg")
    assert to_hex("red") in (tmp_path / "mine.svg").read_text()
    assert to_hex("red") not in (tmp_path / "ours.svg").read_text()


def test_a_line_of_a_style_that_would_be_left_out_is_a_fault(made: report.Report, tmp_path: Path) -> None:
    style = tmp_path / "bad.mplstyle"
    style.write_text("font.siz: 7\nlines.linewidth: thick\nfont.family: serif\n")
    with pytest.raises(InputError) as caught:
        write_figure(made, "loss_n", tmp_path / "x.pdf", style_file=style)
    assert len(caught.value.faults) == 2
    assert all(f"line {line}" in fault for line, fault in enumerate(caught.value.faults, start=1))
    assert "\n" not in "".join(caught.value.faults), "without the advice about another file"
    assert not (tmp_path / "x.pdf").exists()


def test_letters_of_every_figure_follow_the_size_of_ones_own_style(made: report.Report) -> None:
    found = []
    for size in (10, 5):
        with figures.styled({"font.size": size}):
            drawn = {name: draw() for name, draw in named_figures(made).items()}
        found.append({name: letters(one) for name, one in drawn.items()})
    for name, sizes in found[0].items():
        assert sizes == pytest.approx([2 * size for size in found[1][name]]), name


def letters(figure: Figure) -> list[float]:
    return [float(one.get_fontsize()) for one in figure.findobj(Text) if isinstance(one, Text) and one.get_text()]


def test_every_fault_is_told_at_once(made: report.Report, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        write_figure(made, "los_n", tmp_path / "x.txt")
    assert "there is no figure 'los_n'; did you mean 'loss_n'? (figures: loss_n, loss_d, residuals" in str(caught.value)
    assert "accepted: pdf, svg, png" in str(caught.value)
    (tmp_path / "bad.mplstyle").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="no matplotlib style"):
        write_figure(made, "loss_n", tmp_path / "x.pdf", style_file=tmp_path / "bad.mplstyle")
    with pytest.raises(InputError, match="no matplotlib style"):
        write_figure(made, "loss_n", tmp_path / "x.pdf", style_file=tmp_path / "none.mplstyle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.mplstyle"]
