"""Whether a fit's parameters are identified: a closed interval for each, and inputs that vary enough."""

from __future__ import annotations

from sweeplaw.analysis.fitting.fitted_law import Fit

LEAST_SPAN = 2.0  # largest over smallest value of an input, below which its exponent is not worth an extrapolation


def unidentified(fit: Fit) -> tuple[str, ...]:
    """Return a sentence about each parameter that the rows do not identify."""
    return tuple(item.verdict for item in fit.profiles.values() if not item.identified)


def narrow(fit: Fit) -> tuple[str, ...]:
    """Return a sentence about each input that spans less than a factor LEAST_SPAN."""
    spans = {name: float(column.max() / column.min()) for name, column in fit.observations.inputs.items()}
    return tuple(
        f"{name} spans only a factor {span:.4g}, and the law needs {LEAST_SPAN:g} to say how the loss depends on it"
        for name, span in spans.items()
        if span < LEAST_SPAN
    )
