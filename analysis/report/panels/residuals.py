"""The card of residuals: by how much each run misses the law, against compute and by size."""

from __future__ import annotations

import numpy as np

from sweeplaw.analysis.fitting.derived.allocation import flops_per_nd, is_surface
from sweeplaw.analysis.fitting.fitted_law import Fit
from sweeplaw.analysis.report.charts.cards import Card, card, sheet
from sweeplaw.analysis.report.charts.chart import Chart
from sweeplaw.analysis.report.charts.dots import dots_note, drawn_dots
from sweeplaw.analysis.report.charts.numbers import percent, power_of_ten
from sweeplaw.analysis.report.charts.scales import axis_over
from sweeplaw.analysis.report.labels import noun, point
from sweeplaw.analysis.report.panels.loss import compute_of_rows
from sweeplaw.analysis.report.panels.shades import fill
from sweeplaw.analysis.tables.families import Axes
from sweeplaw.trials.quantities import counted


def residuals_card(fit: Fit, by: Axes, key: str) -> Card | None:
    """Return observed over predicted loss, less one, of every row against k N D; None for a law of other inputs."""
    if not is_surface(fit):
        return None
    units, seen = fit.observations.units, fit.observations.inputs
    compute = compute_of_rows(fit, flops_per_nd(fit)[0])
    n, d = (seen[name] * units.get(name, 1.0) for name in ("N", "D"))
    misses = fit.observations.losses / fit.predict({"N": n, "D": d}) - 1
    sizes = {size: rank for rank, size in enumerate(sorted(set(n.tolist())))}
    drawn = np.argsort(compute, kind="stable")[drawn_dots(len(compute))]
    reach = float(np.abs(misses).max()) or 1e-6
    usual = float(np.sqrt(np.mean(misses**2)))

    def draw(width: float) -> str:
        chart = Chart(
            axis_over(compute.tolist(), "training compute C, FLOPs", log=True, label=power_of_ten),
            axis_over([-reach, reach], "observed over the law, less one", label=percent),
            width,
            260.0,
            "residuals against compute",
        )
        chart.line([compute.min(), compute.max()], [0.0, 0.0], "zero")
        for c, miss, size, tokens in zip(compute[drawn], misses[drawn], n[drawn], d[drawn], strict=True):
            text = f"{point(by, size, tokens)}: {percent(miss)}"
            chart.dot(c, miss, f"pt {fill(sizes[size], len(sizes))}", text, f"n{size:g}")
        return chart.svg()

    return card(
        key,
        f"Runs lie within {percent(reach)} of the law, {percent(usual)} as a rule",
        f"A dot is a run; colour: {noun(by, 'N')}, dark small, light large.",
        draw,
        f"{counted(len(misses), 'run')}; as a rule: root mean square. A pattern along compute is an error "
        f"of the form.{dots_note(len(misses))}",
        f"Residuals of {counted(len(misses), 'run')}, at most {percent(reach)}.",
        sheet(
            ("N", "D", "compute_flops", "residual"), zip(n[drawn], d[drawn], compute[drawn], misses[drawn], strict=True)
        ),
    )
