"""Make the gallery: run each sweep, ask what its claim asks, and write a page, its numbers and an index.

    python examples/gallery/make.py                       # all pages, into docs/results
    python examples/gallery/make.py --page linear_dynamics --out build/gallery
    python examples/gallery/make.py --small --cluster inline    # one phenomenon, to see that it runs

Every number of a page is in the JSON beside it.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # for `examples.gallery`

from examples.gallery.pages import PAGES
from examples.gallery.phenomena import GalleryPage, Phenomenon, sweeplaw
from sweeplaw.analysis.report.other_formats import PICTURES

INDEX = "gallery.md"
SMALLEST = next(page for page in PAGES if page.name == "linear_dynamics")
TOTAL = "SELECT sum(train_seconds) AS seconds FROM trials"
HEAD = """# Phenomena, reproduced or not

Made by `make gallery` (`examples/gallery/make.py`), which runs the sweeps named here. Each page has the claim, its
source, the command and our numbers; the JSON beside it has the same numbers.

| phenomenon | source | our numbers | verdict |
|---|---|---|---|
"""
OTHERS = (
    "\nA study of its own: [recipes where data is what is short](data_constrained.md) (Kim et al. 2025), "
    "whose page is made by `make infinite-compute`.\n"
)


def main() -> None:
    """Make the pages that are asked for, and the index of all that are there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--page", action="append", choices=[page.name for page in PAGES], help="only this; repeatable")
    parser.add_argument("--out", type=Path, default=Path("docs/results"), help="folder of the pages")
    parser.add_argument("--stores", type=Path, default=Path("results/gallery"), help="folder of the stores, continued")
    parser.add_argument("--cluster", default="local", help="of every launch")
    parser.add_argument(
        "--small", action="store_true", help="one phenomenon, in a temporary folder, that shows nothing"
    )
    options = parser.parse_args()
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            options.out = options.stores = Path(folder)
            make(replace(SMALLEST, phenomena=SMALLEST.phenomena[:1]), options)
        print(f"{SMALLEST.phenomena[0].claim} The page of it was made, and is gone.")
        return
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"--out: {error}")
    for page in PAGES:
        if options.page is None or page.name in options.page:
            make(page, options)
    (options.out / INDEX).write_text(index(options.out), encoding="utf-8")


def make(page: GalleryPage, options: argparse.Namespace) -> None:
    """Run the sweeps of a page, as far as their stores lack trials, and write it, its figures and its numbers."""
    out, rows, seconds = options.out, [], 0.0
    launched: dict[str, Path] = {}
    for one in page.phenomena:
        if one.sweep not in launched:
            store = launched[one.sweep] = options.stores / Path(one.sweep).stem
            sweeplaw("launch", one.sweep, "--store", str(store), "--cluster", options.cluster)
            (total,) = json.loads(sweeplaw("query", str(store), TOTAL, "--json"))
            seconds += total["seconds"]
        rows.append(_row(one, launched[one.sweep]))
        _draw(one, launched[one.sweep], out / page.name)
    numbers = {"page": page.name, "device_seconds": round(seconds), "phenomena": rows}
    (out / f"{page.name}.json").write_text(json.dumps(numbers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    (out / f"{page.name}.md").write_text(text(page, numbers), encoding="utf-8")


def _draw(one: Phenomenon, store: Path, folder: Path) -> None:
    """Write the pictures of a phenomenon, which are those of the report of its store, to ``folder``."""
    if not one.pictures:
        return
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as report:
        sweeplaw("report", str(store), "--out", report, "--markdown", *one.report)
        for name in one.pictures:
            shutil.copyfile(Path(report) / PICTURES / f"{name}.svg", folder / f"{one.name}_{name}.svg")


def _row(one: Phenomenon, store: Path) -> dict[str, Any]:
    found, verdict = one.decide(one.answer(store))
    return {"name": one.name, "numbers": found, "verdict": verdict}


def text(page: GalleryPage, numbers: Mapping[str, Any]) -> str:
    """Return the page with these numbers."""
    lines = [f"# {page.title}", "", page.about, ""]
    for one, row in zip(page.phenomena, numbers["phenomena"], strict=True):
        lines += [f"## {one.claim}", "", f"Source: {one.source}.", "", "```bash"]
        lines += [f"sweeplaw launch {one.sweep} --store STORE", one.command, "```", ""]
        lines += [f"| {' | '.join(row['numbers'])} |", "|" + "---|" * len(row["numbers"])]
        lines += [f"| {' | '.join(shown(value) for value in row['numbers'].values())} |", ""]
        lines += [f"![{one.claim}]({page.name}/{one.name}_{name}.svg)" for name in one.pictures]
        lines += [""] if one.pictures else []
        lines += [f"**Verdict: {row['verdict']}.**{one.remark and ' ' + one.remark}", ""]
    lines += [f"The trials of this page took {numbers['device_seconds']} seconds by the clock, beside other work."]
    return "\n".join(lines) + "\n"


def shown(value: float | str) -> str:
    """Return a number of the JSON as pages show it."""
    return value if isinstance(value, str) else f"{value:.4g}"


def index(out: Path) -> str:
    """Return the index of the pages in a folder."""
    lines: list[str] = []
    for page in PAGES:
        file = out / f"{page.name}.json"
        if file.exists():
            numbers = json.loads(file.read_text(encoding="utf-8"))
            lines += [_entry(page, one, row) for one, row in zip(page.phenomena, numbers["phenomena"], strict=True)]
    return HEAD + "\n".join(lines) + "\n" + OTHERS


def _entry(page: GalleryPage, one: Phenomenon, row: Mapping[str, Any]) -> str:
    own: Sequence[tuple[str, Any]] = list(row["numbers"].items())[:4]
    numbers = ", ".join(f"{name} {shown(value)}" for name, value in own)
    return f"| [{one.claim}]({page.name}.md) | {one.source} | {numbers} | {row['verdict']} |"


if __name__ == "__main__":
    main()
