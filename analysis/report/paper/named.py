"""The figures of a report by name, and a file of one of them for a paper."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
from matplotlib import rc_context, rc_params_from_file
from matplotlib.figure import Figure

from sweeplaw.analysis.event_times.observations import TIME
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.extrapolation import forecast_band
from sweeplaw.analysis.report.paper import figures, finding_figures
from sweeplaw.analysis.report.paper.search_figures import search_figures
from sweeplaw.analysis.report.paper.tuning_figures import profile_figure
from sweeplaw.analysis.report.report import Report, Section, best_of_each_size
from sweeplaw.analysis.tables.files.output_file import write_file
from sweeplaw.trials.errors import InputError, nearest

FORMATS = ("pdf", "svg", "png", "eps", "ps")
EMBEDDED: Any = {
    "pdf.fonttype": 42,
    "ps.fonttype": 42,
    "svg.fonttype": "path",
}  # fonts within the file, text as text in PDF


def named_figures(report: Report) -> dict[str, Callable[[], Figure]]:
    """Return what draws each figure by name; some are drawn at once, so call it in the style they shall have.

    Names of the second family and later ones end in ``-2`` and so on.
    """
    found: dict[str, Callable[[], Figure]] = {}
    for number, section in enumerate(report.sections, start=1):
        suffix = "" if number == 1 else f"-{number}"
        found.update({f"{name}{suffix}": draw for name, draw in _section(section, report.tables.curves).items()})
    for search in report.searches:
        drawn = search_figures(search)
        found.update({f"{name}-{search.sweep}": partial(_drawn, figure) for name, figure in drawn.items()})
    if report.transfer is not None:
        found["one_setting"] = partial(profile_figure, report.transfer)
    for number, one in enumerate(report.events, start=1):
        if one.data is not None and one.law is not None:
            name = f"time_{one.time.removesuffix(TIME)}" + (f"-{number}" if one.at else "")
            found[name] = partial(finding_figures.event_time, one.data, one.law, f"{one.name}, steps")
    if report.recipes is not None:
        found.update({name: partial(_drawn, figure) for name, figure in report.recipes.figures().items()})
    return found


def _section(section: Section, curves: pl.LazyFrame) -> dict[str, Callable[[], Figure]]:
    by, family, surface = section.by, section.family, section.surface.fit
    found: dict[str, Callable[[], Figure]] = {}
    for name, along, held in (("loss_n", by.n, by.d), ("loss_d", by.d, by.n)):
        own = {one.at[held]: one.fit for one in section.slices if one.fit and held in one.at and one.fit.verified}
        found[name] = partial(_loss, section, own, along)
    if surface is not None:
        found["residuals"] = partial(figures.residuals, surface, by)
    for knob in by.knobs:
        found[f"knob_{knob}"] = partial(figures.nuisance, family, by, knob, section.optima)
    if section.isoflop is not None:
        found["isoflop"] = partial(finding_figures.isoflop, section.isoflop, by)
        if section.isoflop.line is not None:
            found["best_size"] = partial(finding_figures.growth, section.isoflop, by)
    if section.shares is not None:
        found["importance"] = partial(finding_figures.knob_importance, section.shares)
    if section.hyper is not None and not section.hyper.refused:
        found.update({name: partial(_hyper, section, name) for name in section.hyper.names})
    if labels := best_of_each_size(section):
        points = curves.filter(pl.col("trial_id").is_in(list(labels)))
        found["curves"] = lambda: figures.training_curves(points.collect(), labels, by)
    return found


def _loss(section: Section, own: Mapping[Any, Fit], along: str) -> Figure:
    fit = section.surface.fit
    return figures.loss_curves(section.family, section.by, fit, own, along=along, forecast=forecast_band(fit))


def _hyper(section: Section, name: str) -> Figure:
    assert section.hyper is not None
    with rc_context(figures.own_style()):
        return section.hyper.draw()[name]


def _drawn(figure: Figure) -> Figure:
    return figure


def write_figure(
    report: Report, name: str, out: Path, size: tuple[float, float] | None = None, style_file: Path | None = None
) -> None:
    """Write the figure ``name`` to ``out``, in the format of its suffix, fonts embedded.

    ``size`` is width and height in inches; ``style_file`` a matplotlib style. Raise InputError for a name that the
    report does not have, and for what `file_style` refuses.
    """
    faults: list[str] = []
    style = {}
    try:
        style = file_style(out, style_file)
    except InputError as error:
        faults += error.faults
    with figures.styled(style):
        known = named_figures(report)
        if name not in known:
            close = nearest(name, list(known))
            faults.insert(0, f"there is no figure {name!r}{close} (figures: {', '.join(known)})")
        if faults:
            raise InputError(faults)
        figure = known[name]()
    if size is not None:
        figure.set_size_inches(*size)
    with rc_context(EMBEDDED):
        write_file(out, partial(figure.savefig, format=out.suffix[1:], bbox_inches=None if size else "tight", dpi=300))


def file_style(out: Path, style_file: Path | None) -> Any:
    """Return the parameters in ``style_file``, none without one, for a figure in ``out``.

    Raise InputError for a suffix that names no format, a style that cannot be read, and each line of a style that
    matplotlib does not accept: it would be left out of the figure.
    """
    faults: list[str] = []
    parameters: Any = {}
    if out.suffix[1:] not in FORMATS:
        faults.append(f"{out}: the suffix names the format (accepted: {', '.join(FORMATS)})")
    if style_file is not None:
        complaints = _Complaints()
        log = logging.getLogger("matplotlib")
        propagates, log.propagate = log.propagate, False
        log.addHandler(complaints)
        try:
            parameters = rc_params_from_file(str(style_file), use_default_template=False)
        except (OSError, ValueError) as error:
            faults.append(f"{style_file} is no matplotlib style that can be read: {error}")
        finally:
            log.removeHandler(complaints)
            log.propagate = propagates
        faults += complaints.lines
    if faults:
        raise InputError(faults)
    return parameters


class _Complaints(logging.Handler):
    """What matplotlib logs about lines of a style that it leaves out: the first line of each, without the advice."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage().strip().partition("\n")[0])
