"""Coverage of where one recipe overtakes another, for two planted laws that cross at a known size.

Two recipes of a law C + A / N^alpha each, at ten sizes over two decades with ten seeds a size; they cross inside the
sizes that were run, or beyond the largest. A line has the share of replications whose distribution covers the planted
size (its central 95 %, of all draws, those without a crossing counted as beyond the range), and the share in which the
answer names two ends, or no law can be fitted; then all for a tenth of the runs, one seed a size with the noise of a
run known. There it must say that it cannot tell, wherever the laws differ by less than the noise.

    python benchmarks/laws/crossing_coverage.py                     # 200 replications: some minutes on one core
    python benchmarks/laws/crossing_coverage.py --replications 2    # a second, to see that it runs
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import polars as pl

from sweeplaw.analysis.recipes.study.crossing import recipe_crossing
from sweeplaw.analysis.recipes.study.study import recipe_limits
from sweeplaw.trials.errors import InputError

SIZES = np.geomspace(1e7, 1e9, 10)
NOISE, SEEDS, DRAWS = 0.01, 10, 400
FIRST, SECOND = (2.60, 0.60, 0.30), (2.45, 0.22)  # C, A at 1e7, alpha; C, alpha of the one that overtakes
PLACES = {"inside": 1e8, "beyond": 3e9}


def laws(crossing: float) -> dict[str, tuple[float, float, float]]:
    """Return C, A at N = 1e7 and alpha of both recipes, whose losses are equal at ``crossing``."""
    c, a, alpha = FIRST
    other, slope = SECOND
    equal = c + a * (crossing / SIZES[0]) ** -alpha
    return {"early": FIRST, "late": (other, (equal - other) * (crossing / SIZES[0]) ** slope, slope)}


def runs(rng: np.random.Generator, crossing: float, seeds: int) -> pl.DataFrame:
    """Return the measured runs of both recipes."""
    rows = [
        (name, n, 1e8, seed, c + a * (n / SIZES[0]) ** -alpha + NOISE * rng.standard_normal())
        for name, (c, a, alpha) in laws(crossing).items()
        for n in SIZES
        for seed in range(seeds)
    ]
    return pl.DataFrame(rows, schema=["recipe", "N", "U", "seed", "loss"], orient="row")


def replicate(rng: np.random.Generator, crossing: float, seeds: int) -> tuple[float, bool, bool]:
    """Return whether the distribution covers the planted size, whether the answer names two ends, and whether there is
    none, since no law can be fitted.
    """
    study = recipe_limits(runs(rng, crossing, seeds), noise=NOISE if seeds == 1 else None, draws=DRAWS)
    try:
        found = recipe_crossing(study, "late", "early", "N")
    except InputError:
        return np.nan, False, True
    return float(found.within.low <= crossing <= found.within.high), found.located, False


def measured(replications: int) -> list[dict[str, float | str]]:
    """Return a row for each place of the crossing and number of seeds."""
    rows: list[dict[str, float | str]] = []
    for place, crossing in PLACES.items():
        for seeds in (SEEDS, 1):
            rng = np.random.default_rng(seeds)
            shares = np.nanmean([replicate(rng, crossing, seeds) for _ in range(replications)], axis=0)
            found = dict(zip(("covered", "told", "refused"), map(float, shares), strict=True))
            rows.append({"place": place, "seeds": seeds, **found})
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replications", type=int, default=200)
    parser.add_argument("--json", type=Path, help="Also write the rows there.")
    options = parser.parse_args()
    print("crossing  seeds  covered  told    refused")
    rows = measured(options.replications)
    for row in rows:
        print(
            f"{row['place']:8}  {row['seeds']:5}  {row['covered']:7.1%}  {row['told']:6.1%}  {row['refused']:7.1%}",
            flush=True,
        )
    print(f"standard error at 95 %: {(0.95 * 0.05 / options.replications) ** 0.5:.1%}")
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
