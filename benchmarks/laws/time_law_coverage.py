"""Coverage of the 95 % intervals of laws of times of which some are right-censored, by kind of residuals and end.

A planted law over 5 x 4 settings, repeated three times; looking ends at a time that censors none, about three in ten
or about six in ten of the trials. Each line has the shares of sets whose intervals hold the planted exponents, t* at
the middle, and sigma.

    python benchmarks/laws/time_law_coverage.py             # 200 sets a line: two minutes on one core
    python benchmarks/laws/time_law_coverage.py --sets 2    # a second, to see that it runs
"""

from __future__ import annotations

import argparse

import numpy as np

from sweeplaw.analysis.event_times.observations import EventTimes
from sweeplaw.analysis.event_times.residuals import RESIDUALS
from sweeplaw.analysis.event_times.time_law import fit_time_law

SCALE, EXPONENTS, SIGMA = 300.0, np.array([-1.0, -2.0]), 0.4
A, B, REPEATS = (0.25, 0.5, 1.0, 2.0, 4.0), (0.3, 0.4, 0.5, 0.6), 3
MIDDLE = {"a": 1.0, "b": 0.5}  # where t* is SCALE
ENDS = (np.inf, 800.0, 250.0)


def planted(rng: np.random.Generator, residuals: str, end: float) -> EventTimes:
    """Return the trials of one set, of which those later than ``end`` are censored there."""
    inputs = np.array([(a, b) for a in A for b in B for _ in range(REPEATS)])
    normal, least = rng.normal(size=len(inputs)), np.log(rng.exponential(size=len(inputs)))
    noise = least if residuals == "weibull" else normal
    times = SCALE * np.prod((inputs / list(MIDDLE.values())) ** EXPONENTS, axis=1) * np.exp(SIGMA * noise)
    return EventTimes(np.minimum(times, end), times <= end, inputs, ("a", "b"))


def held(data: EventTimes, residuals: str) -> list[bool]:
    """Return whether the intervals hold the exponents, t* at the middle and sigma, and whether the fit is verified."""
    law = fit_time_law(data, residuals, at=[MIDDLE])
    assert law.exponents is not None
    assert law.sigma is not None
    estimates = [*law.exponents.values(), law.predictions[0][1], law.sigma]
    truths = [*EXPONENTS, SCALE, SIGMA]
    inside = [one.interval.low <= truth <= one.interval.high for one, truth in zip(estimates, truths, strict=True)]
    return [*inside, law.status == "verified"]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", type=int, default=200)
    options = parser.parse_args()
    print("residuals   censored  exponent a  exponent b  t*     sigma  verified")
    for residuals in RESIDUALS:
        for end in ENDS:
            rng = np.random.default_rng(0)
            sets = [planted(rng, residuals, end) for _ in range(options.sets)]
            censored = 1 - np.mean([one.event for one in sets])
            shares = np.mean([held(one, residuals) for one in sets], axis=0)
            print(f"{residuals:10s}  {censored:8.0%}  " + "  ".join(f"{share:<10.1%}" for share in shares), flush=True)
    print(f"standard error at 95 %: {(0.95 * 0.05 / options.sets) ** 0.5:.1%}")


if __name__ == "__main__":
    main()
