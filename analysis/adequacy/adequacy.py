"""Three verdicts on a fit: is its optimum found, is its law adequate to the rows, are its parameters identified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from sweeplaw.analysis.adequacy.below_the_law import asymptote, below_best_loss
from sweeplaw.analysis.adequacy.finding import Finding
from sweeplaw.analysis.adequacy.held_out_budget import held_out_budget
from sweeplaw.analysis.adequacy.identified import narrow, unidentified
from sweeplaw.analysis.adequacy.lack_of_fit import NEGLIGIBLE, lack_of_fit, replicates
from sweeplaw.analysis.adequacy.nested import nested
from sweeplaw.analysis.adequacy.points import FitPoints, judged, points, robust_scale
from sweeplaw.analysis.adequacy.residual_means import residual_means, worst_means
from sweeplaw.analysis.fitting.fitted_law import Fit, require_fits
from sweeplaw.analysis.tables.display import Card, Shown, finite

LawVerdict = Literal["adequate", "inadequate", "cannot be judged"]


@dataclass(frozen=True, slots=True, repr=False)
class Adequacy(Shown):
    """The three verdicts on a fit, with a sentence for each finding.

    ``law`` is inadequate if a test failed, and cannot be judged if a misfit that matters could hide in the noise.
    ``rows_judged`` are those that the law was tested on, drawn at random from very many.
    """

    optimum_found: bool
    status: str
    law: LawVerdict
    findings: tuple[Finding, ...]
    parameters_identified: bool
    open_parameters: tuple[str, ...]
    residual_means: Mapping[str, Sequence[Mapping[str, Any]]]
    rows: int
    rows_judged: int

    @property
    def badges(self) -> tuple[str, str, str]:
        """The verdicts in two to four words each."""
        return badges(self.optimum_found, self.law, self.parameters_identified)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences behind the verdict on the law: what failed, else what could not be judged, else what passed."""
        ranks = {"inadequate": "failed", "cannot be judged": "unknown", "adequate": "passed"}
        kept = [finding.sentence for finding in self.findings if finding.verdict == ranks[self.law]]
        if self.law == "inadequate":
            return (*kept, worst_means(self.residual_means))
        return tuple(kept[:1])

    def headline(self) -> tuple[str, ...]:
        """Return the three verdicts, and a line for each finding behind them."""
        return ("; ".join(self.badges), *(f"{self.badges[1]}: {one}" for one in self.reasons), *self.open_parameters)

    def to_dict(self) -> dict[str, Any]:
        """Return the verdicts and findings as plain values for JSON."""
        return dict(finite({
            "badges": self.badges,
            "optimum": {"found": self.optimum_found, "status": self.status},
            "law": {"verdict": self.law, "reasons": self.reasons, "rows": self.rows, "rows_judged": self.rows_judged,
                    "findings": [finding.values() for finding in self.findings]},
            "parameters": {"identified": self.parameters_identified, "sentences": self.open_parameters},
            "residual_means": self.residual_means,
        }))  # fmt: skip

    def card(self) -> Card:
        """Return the verdicts above a table of the findings."""
        rows = tuple((finding.test.replace("_", " "), finding.verdict, finding.sentence) for finding in self.findings)
        return Card(("; ".join(self.badges),), ("test of the law", "verdict", "finding"), rows, self.open_parameters)


def badges(optimum_found: bool, law: LawVerdict, identified: bool) -> tuple[str, str, str]:
    """Return three verdicts in two to four words each."""
    return (
        "optimum found" if optimum_found else "optimum not found",
        "law cannot be judged" if law == "cannot be judged" else f"law {law}",
        "parameters identified" if identified else "parameters not identified",
    )


def adequacy(fit: Fit) -> Adequacy:
    """Return the verdicts on a fit. Raise InputError for anything else.

    The law is tested for lack of fit, against replicates, against a wider form, for losses below its asymptote or its
    frontier, and for its prediction of the largest budget (docs/usage.md, "What the badges mean").
    """
    require_fits(fit)
    few = judged(fit)
    law, findings = _verdict_of(few)
    open_parameters = (*unidentified(fit), *narrow(fit))
    return Adequacy(
        fit.verified, fit.status, law, findings, not open_parameters, open_parameters,
        residual_means(few), fit.rows_used, few.rows_used,
    )  # fmt: skip


def law_verdict(fit: Fit) -> tuple[LawVerdict, tuple[Finding, ...]]:
    """Return the verdict on the law alone with its findings: without the profiles of the parameters, which take long.

    Raise InputError for anything but a fit.
    """
    require_fits(fit)
    return _verdict_of(judged(fit))


def _verdict_of(fit: Fit) -> tuple[LawVerdict, tuple[Finding, ...]]:
    findings = tuple(_findings(fit))
    return _verdict(findings), findings


def _verdict(findings: Sequence[Finding]) -> LawVerdict:
    """Return that a law is inadequate if a test failed, adequate if a test of all its residuals passed."""
    if any(finding.verdict == "failed" for finding in findings):
        return "inadequate"
    whole = [finding.verdict for finding in findings if finding.test in ("lack_of_fit", "replicates")]
    return "adequate" if "passed" in whole else "cannot be judged"


def _findings(fit: Fit) -> Iterator[Finding]:
    here = points(fit)
    spread = float(np.std(np.log(fit.observations.losses)))
    first = lack_of_fit(here, spread)
    repeated = replicates(here, spread)
    noise = max(_noise(first, here, fit), _noise(repeated, here, fit) if repeated else 0.0, NEGLIGIBLE)
    yield first
    others = (
        repeated,
        nested(fit),
        asymptote(fit, noise),
        below_best_loss(fit, noise),
        held_out_budget(fit, noise),
    )
    yield from (other for other in others if other is not None)


def _noise(finding: Finding, here: FitPoints, fit: Fit) -> float:
    """Return the standard deviation of one run in parts of its loss, as a test found it, or else by the residuals.

    Points of a fitted optimum scatter by less than their runs do; there the larger noise of repeated runs counts.
    """
    known = finding.numbers.get("noise_of_loss")
    return float(known) if known else robust_scale(fit.residuals, here.params) * here.relative
