"""The reference of sweep files and profiles is that of the models, and its example is a sweep."""

import re
import runpy

import pytest

from sweeplaw.clusters.profile.profile import Profile
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.sweep import parse
from sweeplaw.orchestrator.schemas import catalog
from sweeplaw.orchestrator.schemas.workload_settings import SETTINGS
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.workloads import registry
from tests.paths import ROOT

REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
TABLES = ("slurm", "kuberay", "cloud", "simulation")


def test_the_reference_is_up_to_date():
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    assert page == REFERENCE["page"](), "run: python docs/reference.py"
    assert all(f"| `{key}` |" in page for key in Profile.model_fields if key not in TABLES)


@pytest.mark.parametrize("name", catalog.FILES)
def test_the_schemas_are_up_to_date(name):
    text = (ROOT / "docs" / "schemas" / f"{name}.json").read_text(encoding="utf-8")
    assert text == catalog.text(name), "run: python docs/reference.py"


@pytest.mark.parametrize(
    "kind", ["language_model", "surrogate", "ensemble", "evaluation", "replay", "command", "python:math:sqrt"]
)
def test_the_reference_has_the_settings_that_each_workload_accepts(kind):
    with pytest.raises(InputError) as caught:
        registry.load(kind, {"nonsense": 1})
    said = next(fault for fault in caught.value.faults if "nonsense" in fault)
    accepted = re.search(r"accepted: ([a-z_, ]+)\)", said)
    there = {one.key for one in SETTINGS if kind.partition(":")[0] in one.kinds}
    assert there == {*(accepted[1].split(", ") if accepted else ())} - {"none"}, said


def test_the_example_of_the_reference_is_a_sweep():
    made = plan(parse(REFERENCE["EXAMPLE"]))
    assert made.trials == 3 * 16 * 2
    assert made.sweep.retry.worker_died == 3
    assert made.sweep.budget.trials == 200
    assert {axis.names for axis in made.sweep.axes} >= {("batch_sequences", "weight_decay"), ("lr",), ("params",)}
