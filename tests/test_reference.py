"""The reference of sweep files and profiles is that of the models, and its example is a sweep."""

import runpy

from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from tests.paths import ROOT

REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
TABLES = ("slurm", "kuberay", "cloud", "simulation")


def test_the_reference_is_up_to_date():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == REFERENCE["page"](), "run: python docs/reference.py"
    assert all(f"| `{key}` |" in page for key in Profile.model_fields if key not in TABLES)


def test_the_example_of_the_reference_is_a_sweep():
    made = plan(parse(REFERENCE["EXAMPLE"]))
    assert made.trials == 3 * 16 * 2
    assert made.sweep.retry.worker_died == 3
    assert made.sweep.budget.trials == 200
    assert {axis.names for axis in made.sweep.axes} >= {("batch_sequences", "weight_decay"), ("lr",), ("params",)}
