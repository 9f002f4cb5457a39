"""Charts: marks stand where their values say, labels do not overlap, text is text, and bars get the first free lane."""

import csv
import io
import math
import re
from itertools import pairwise
from urllib.parse import unquote

import pytest

from sweeplaw.analysis.report.charts.cards import card, sheet
from sweeplaw.analysis.report.charts.chart import LINE, Chart, apart
from sweeplaw.analysis.report.charts.dots import most_even
from sweeplaw.analysis.report.charts.numbers import percent
from sweeplaw.analysis.report.charts.scales import Axis, axis_over
from sweeplaw.analysis.report.panels.runs import assign_lanes
from sweeplaw.analysis.report.panels.shades import heat


def test_a_logarithmic_axis_places_values_by_their_logarithm():
    axis = Axis("x", 1e6, 1e9, log=True)
    assert [axis.share(value) for value in (1e6, 1e7, 1e9)] == pytest.approx([0, 1 / 3, 1])
    assert [text for _, text in axis.ticks(5)] == [
        "1\N{NO-BREAK SPACE}M",
        "10\N{NO-BREAK SPACE}M",
        "100\N{NO-BREAK SPACE}M",
        "1\N{NO-BREAK SPACE}B",
    ]
    assert not any(axis.inside(value) for value in (9e5, 0.0, -1.0, math.nan, 1.1e9))


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(2.31, 2.37, False), (0.0, 1e-5, False), (3e8, 4e8, True), (1.0, 1e12, True), (5.0, 5.0, False), (7.0, 7.0, True)],
)
def test_every_axis_has_a_few_ticks_at_round_values_inside(low, high, log):
    axis = axis_over([low, high, None, math.nan], "x", log=log)
    ticks = axis.ticks(6)
    assert 2 <= len(ticks) <= 8
    assert all(axis.inside(value) for value, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)  # told apart
    with pytest.raises(ValueError, match="no value to draw"):
        axis_over([None, math.inf, -1.0 if log else math.nan], "x", log=log)


def test_a_dot_is_where_its_values_are_and_outside_the_frame_there_is_none():
    chart = Chart(Axis("x", 0, 10), Axis("y", 0, 100), 400, 300, "test")
    left, bottom = chart.at(0, 0)
    right, top = chart.at(10, 100)
    chart.dot(5, 50, "f1", "the middle & <more>")
    chart.dot(11, 50, "f1", "outside")
    (mark,) = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', chart.svg())
    assert [float(part) for part in mark] == pytest.approx([(left + right) / 2, (top + bottom) / 2], abs=0.06)
    assert "<title>the middle &amp; &lt;more&gt;</title>" in chart.svg()
    assert "outside" not in chart.svg()


def test_a_whisker_is_cut_at_the_frame_and_an_unknown_end_reaches_it():
    chart = Chart(Axis("x", 0, 10), Axis("y", 0, 100), 400, 300, "test")
    top, bottom = chart.at(0, 100)[1], chart.at(0, 0)[1]
    for low, high in ((-50.0, 500.0), (None, None)):
        chart.whisker(5, low, high, "wh")
    ends = re.findall(r'class="wh" d="M[\d.]+ ([\d.]+)V([\d.]+)"', chart.svg())
    assert [[float(end) for end in pair] for pair in ends] == [pytest.approx([bottom, top], abs=0.06)] * 2


def test_labels_at_the_ends_of_lines_are_moved_apart_and_stay_in_the_frame():
    places = apart([50, 51, 52, 200, 290], LINE, 30, 300)
    assert all(b - a >= LINE - 1e-9 for a, b in pairwise(places))
    assert apart([295, 296, 297], LINE, 30, 300) == pytest.approx([300 - 2 * LINE, 300 - LINE, 300])
    assert apart([40, 90], LINE, 30, 300) == [40, 90]
    assert apart([], LINE, 30, 300) == []


def test_labels_that_do_not_stand_over_each_other_stay_at_their_lines():
    chart = Chart(Axis("x", 0, 10), Axis("y", 0, 100), 400, 300, "test", right=40)
    for x, y, text in ((2, 50, "left"), (9, 50, "a"), (9, 51, "b")):
        chart.end(x, y, text)
    at = {text: float(y) - 4 for y, text in re.findall(r'class="l" x="[\d.]+" y="([\d.]+)"[^>]*>(\w+)<', chart.svg())}
    assert at["left"] == pytest.approx(chart.at(2, 50)[1], abs=0.06)
    assert at["a"] - at["b"] == pytest.approx(LINE, abs=0.11)


def test_a_line_with_a_gap_is_in_two_pieces():
    chart = Chart(Axis("x", 1, 10, log=True), Axis("y", 0, 10), 400, 300, "test")
    chart.line([1, 2, 3, 4, 5], [1, 2, math.nan, 4, 5], "law")
    (path,) = re.findall(r'<path class="law"[^>]* d="([^"]*)"', chart.svg())
    assert path.count("M") == 2
    assert path.count("L") == 2


def test_the_data_of_a_card_are_read_back_from_its_link():
    rows = [(1e7, 'say "hi", now', None), (2.5, "<b>", 3)]
    made = card(
        "k",
        "title",
        "subtitle",
        lambda width: f'<svg id="CLIP" a="url(#CLIP)">CLIP {width:g}',
        "c",
        "a",
        sheet(("N", "text", "x"), rows),
    )
    assert made.sheet is not None
    assert made.drawings == tuple(
        f'<svg id="c-k-{k}" a="url(#c-k-{k})">CLIP {width}' for k, width in enumerate((940, 350))
    )
    text = unquote(made.sheet.link().split(",", 1)[1])
    assert list(csv.reader(io.StringIO(text))) == [
        ["N", "text", "x"],
        ["10000000.0", 'say "hi", now', ""],
        ["2.5", "<b>", "3"],
    ]


def test_a_bar_takes_the_first_free_lane_of_its_host():
    assert assign_lanes(["a", "a", "a", "b", "a"], [0, 1, 5, 5, 6], [4, 9, 6, 7, 8]) == [0, 1, 0, 2, 0]


def test_shades_are_spread_evenly_and_heat_grows_with_the_excess():
    assert most_even([1, 2, 3, 4, 5, 6, 7, 8, 9], 3) == [1, 5, 9]
    assert most_even([1, 2], 3) == [1, 2]
    assert [heat(excess) for excess in (0, 0.001, 0.002, 0.04, 0.5)] == [0, 0, 1, 5, 6]


def test_a_chart_tells_a_script_its_frame_and_axes_unless_it_does_not_zoom() -> None:
    axes = Axis("x", 1e6, 1e9, log=True), Axis("y", 0.0, 0.25, label=percent)
    chart = Chart(*axes, 400, 300, "test")
    (left, bottom), (right, top) = chart.at(1e6, 0.0), chart.at(1e9, 0.25)
    drawn = chart.svg()
    box = re.search(r'data-box="([^"]*)"', drawn)
    assert box is not None
    assert [float(edge) for edge in box[1].split()] == pytest.approx([left, top, right, bottom], abs=0.06)
    assert 'data-x="1000000 1000000000 log people" data-y="0 0.25 linear percent"' in drawn
    assert "data-box" not in chart.svg_with(["<path/>"])
    assert "data-box" not in Chart(*axes, 400, 300, "test", zooms=False).svg()
