"""Reports of known loss surfaces, for the gallery of the site: nothing is trained, so each takes seconds.

python docs/gallery.py NAME FILE    # run the sweep of this name, and write its report
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One report: what it shows, and the axes of its sweep."""

    title: str
    about: str
    axes: str


SWEEP = """\
name = "{name}"
workload = "surrogate"

{axes}
[nuisance]
lr = {{ log = [1e-3, 1e-1], num = 5 }}

[fixed]
noise = 0.003

[derived]
batch_sequences = "0.58 * tokens ** 0.571 / 256"
"""
HEAD = """\
# Gallery

Reports as `sweeplaw report` writes them, made of known surfaces when this site was built.
"""
EXHIBITS = {
    "law": Exhibit(
        "A law that holds",
        "Five sizes times five budgets over two decades each. All three verdicts hold, the planted exponents lie in "
        "their intervals, and the page advises on compute.",
        "[scientific]\nparams = { log = [1e7, 1e9], num = 5 }\ntokens = { log = [1e9, 1e11], num = 5 }\n",
    ),
    "two_sizes": Exhibit(
        "Runs that cannot tell",
        "The same surface with two sizes. The fit is as close, but the exponent of N could be almost anything: the "
        "page says so, gives no advice on compute, and lists the runs that would settle it.",
        "[scientific]\nparams = [10_000_000, 20_000_000]\ntokens = { log = [1e9, 1e11], num = 5 }\n",
    ),
}


def page() -> str:
    """Return the page of the gallery."""
    parts = [
        f"## {one.title}\n\n{one.about}\n\n"
        f'<a class="md-button" href="gallery/{name}.html">Open the report</a>\n\n'
        f"```toml\n{SWEEP.format(name=name, axes=one.axes)}```\n"
        for name, one in EXHIBITS.items()
    ]
    return "\n".join([HEAD, *parts])


def write(name: str, file: Path) -> None:
    """Run the sweep of this name in a folder that is gone afterwards, and write its report to ``file``."""
    import sweeplaw as sl
    from sweeplaw.analysis.report import page
    from sweeplaw.analysis.report.report import make
    from sweeplaw.orchestrator.plan.sweep import parse

    target = file.resolve()
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),  # so that the report names the store without the folder
        contextlib.redirect_stdout(io.StringIO()),
    ):
        plan = sl.plan(parse(SWEEP.format(name=name, axes=EXHIBITS[name].axes)))
        sl.launch(plan, sl.Store.open(name, create=True), sl.read_profile("inline"))
        html, _ = page.write(make(name), Path(folder))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(html.read_bytes())


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
