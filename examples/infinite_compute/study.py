"""Pre-training when data is what is short, as one study: recipes tuned, ensembles and students of the best, one page.

    python examples/infinite_compute/study.py --out results/infinite-compute

Each step is a `sweeplaw` command, printed before it runs, with its time after it. Stores are continued: run
it again after an interruption, or with more budgets. ``--standard`` and ``--regularized`` name other sweep files, such
as those for a cluster.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

SWEEPS = Path("orchestrator/sweeps/data_constrained/cpu")
SYNTHETIC = "16 * unique_tokens"  # tokens sampled for each student

SMALL = """
name = "{name}"
workload = "language_model"
keep = "final"
[scientific]
params_non_embedding = [3_000]
unique_tokens = [2_048]
[fixed]
epochs = 2
weight_decay = {decay}
corpus = "stdlib"
context = 64
batch_sequences = 8
evaluations = 1
validation_tokens = 4_096
"""


def main() -> None:
    """Read the options and run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/infinite-compute"), help="folder of stores and pages")
    parser.add_argument("--standard", type=Path, default=SWEEPS / "standard.toml")
    parser.add_argument("--regularized", type=Path, default=SWEEPS / "regularized.toml")
    parser.add_argument("--members", type=int, default=5, help="members of an ensemble")
    parser.add_argument("--weight", type=float, default=0.5, help="share of synthetic text in a student's training")
    parser.add_argument(
        "--small", action="store_true", help="a study of seconds, in a temporary folder, that shows nothing"
    )
    parser.add_argument("--launch", default="", help="options of every launch, such as '--cluster slurm.toml'")
    options = parser.parse_args()
    if options.small:
        with tempfile.TemporaryDirectory() as folder:
            run(small(options, Path(folder)))
    else:
        run(options)


def small(options: argparse.Namespace, folder: Path) -> argparse.Namespace:
    """Return the options of a study of two tiny models."""
    for name, decay in (("standard", 0.1), ("regularized", 1.6)):
        path = folder / f"{name}.toml"
        path.write_text(SMALL.format(name=name, decay=decay))
        setattr(options, name, path)
    options.out, options.members = folder, 2
    return options


def run(options: argparse.Namespace) -> None:
    """Run the steps of the study that are missing, and write its page."""
    study = Study(options.out, options.launch.split())
    study.launch("standard", options.standard)
    study.launch("regularized", options.regularized)
    ensemble = [f"members={options.members}", "epochs=2 * epochs", "weight_decay=weight_decay / 2"]
    study.derive("ensemble", "regularized", ensemble)
    student = ["synthetic=sampled", f"synthetic_weight={options.weight}"]
    study.sample("ensemble")
    study.derive("distilled", "ensemble", [*student, "members=1", "epochs=epochs / 2", "weight_decay=2 * weight_decay"])
    study.sample("regularized")
    study.derive("self_distilled", "regularized", student)
    study.compare()


class Study:
    """The stores of a study, a folder each in ``out``, beside the derived sweep files and the page."""

    def __init__(self, out: Path, launch: Sequence[str]) -> None:
        self.out, self._launch = out, launch
        self.recipes: list[str] = []
        self.started = time.monotonic()
        out.mkdir(parents=True, exist_ok=True)

    def launch(self, recipe: str, sweep: Path) -> None:
        """Run the sweep of a recipe."""
        self._run("launch", sweep, "--store", self.out / recipe, *self._launch)
        self.recipes.append(recipe)

    def derive(self, recipe: str, source: str, settings: Sequence[str]) -> None:
        """Run the best settings of another recipe, with these knobs changed."""
        path = self.out / f"{recipe}.toml"
        if not path.exists():
            changed = [word for setting in settings for word in ("--set", setting)]
            self._run("derive", self.out / source, "--name", recipe, *changed, "--out", path)
        self.launch(recipe, path)

    def sample(self, recipe: str) -> None:
        """Sample text from the best models of a recipe."""
        self._run("sample", self.out / recipe, "--best", "--tokens", SYNTHETIC)

    def compare(self) -> None:
        """Compare all recipes by their limits, on the terminal, as JSON and as a page."""
        sources = [f"{recipe}={self.out / recipe}" for recipe in self.recipes]
        kept = [f"{student}=ensemble" for student in ("distilled", "self_distilled")]
        retained = [word for pair in kept for word in ("--retained", pair)]
        written = ["--page", self.out / "recipes.html", "--figures", self.out / "figures"]
        self._run("recipes", *sources, *retained, *written)
        found = self._run("recipes", *sources, *retained, "--json", capture=True)
        (self.out / "recipes.json").write_text(found)
        print(f"{self.out / 'recipes.html'}, {self.out / 'recipes.json'}: {time.monotonic() - self.started:.0f} s")

    def _run(self, *words: object, capture: bool = False) -> str:
        """Run a command of sweeplaw and return what it prints, if captured. Exit if it fails."""
        print("$", shlex.join(["sweeplaw", *map(str, words)]), flush=True)
        started = time.monotonic()
        command = [sys.executable, "-m", "sweeplaw", *map(str, words)]
        with subprocess.Popen(command, text=True, stdout=subprocess.PIPE if capture else None) as process:
            before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # it winds down; then this ends too
            output, _ = process.communicate()
            signal.signal(signal.SIGTERM, before)
        if process.returncode:
            raise SystemExit(process.returncode)
        print(f"  {time.monotonic() - started:.0f} s", flush=True)
        return output or ""


if __name__ == "__main__":
    main()
