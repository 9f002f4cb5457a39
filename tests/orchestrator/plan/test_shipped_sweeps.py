"""The sweeps that come with sweeplaw are what their sources say.

Source of the models and of the settings: Kim et al. 2025, "Pre-training under infinite compute" (arXiv:2509.14786).
"""

from __future__ import annotations

from typing import Any

import pytest

from sweeplaw.clusters.profile.profile import load
from sweeplaw.orchestrator.plan.estimate import estimate, unkept_ensembles
from sweeplaw.orchestrator.plan.plan import plan
from sweeplaw.orchestrator.plan.resources import ClusterCapacity, ResourceSizer
from sweeplaw.orchestrator.plan.sweep import SweepSpec, parse, read
from sweeplaw.orchestrator.search.registry import check
from sweeplaw.trials.kept.members import MemberName
from sweeplaw.trials.kept.teachers import Described
from sweeplaw.trials.sampling.corpora import SamplingRequest, recipe_of
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.kept_weights import Kept
from sweeplaw.trials.store_format.synthetic_corpora import id_of
from tests.paths import ROOT

FOLDER = ROOT / "orchestrator/sweeps/data_constrained"
BUDGETS = [209_715_200, 419_430_400, 838_860_800, 1_677_721_600]
# Best single models: epochs, learning rate and weight decay at 150M, 300M, 600M and 1.4B, by budget.
SINGLE = [
    [(16, 3e-3, 0.8), (16, 3e-3, 1.6), (8, 1e-3, 3.2), (8, 1e-3, 3.2)],
    [(32, 3e-3, 0.8), (16, 3e-3, 0.8), (8, 1e-3, 1.6), (8, 1e-3, 3.2)],
    [(64, 3e-3, 0.4), (16, 3e-3, 0.4), (16, 3e-3, 0.4), (8, 1e-3, 1.6)],
    [(64, 3e-3, 0.1), (32, 1e-3, 0.4), (16, 1e-3, 0.8), (8, 1e-3, 0.8)],
]


def axis(sweep: SweepSpec, name: str) -> list[Any]:
    """The values of a knob on its axis."""
    (found,) = [one for one in sweep.axes if name in one.names]
    return [row[found.names.index(name)] for row in found.values]


def test_members_have_twice_the_epochs_and_half_the_decay_of_the_best_single_model() -> None:
    sweep = read(FOLDER / "joint.toml")
    expected = [(2 * epochs, lr, decay / 2) for row in SINGLE for epochs, lr, decay in row]
    expected[12] = (128, 3e-3, 0.1)  # the decay is never below that of the standard recipe
    found = list(zip(*(axis(sweep, name) for name in ("epochs", "lr", "weight_decay")), strict=True))
    assert found == expected
    assert axis(sweep, "unique_tokens") == [budget for budget in BUDGETS for _ in range(4)]
    assert axis(sweep, "seed") == [0, 1, 2, 3, 4]


def test_the_ensembles_are_those_of_the_joint_recipe_at_300m() -> None:
    ensemble, joint = (set(plan(read(FOLDER / f"{name}.toml")).ids) for name in ("ensemble", "joint"))
    assert (len(ensemble), len(joint)) == (5 * 4, 5 * 16)
    assert ensemble < joint


def test_models_of_every_published_size_fit_a_cluster_one_member_after_another() -> None:
    cluster = load(str(ROOT / "examples/clusters/slurm.toml"))  # nodes of eight GPUs of 80 GB
    made = plan(read(FOLDER / "joint.toml"))
    sizer = ResourceSizer(cluster, made.sweep.workload.spreads, ClusterCapacity.of(cluster.planned_nodes()))
    sizes = [sizer(group.cost) for group in made.groups]
    assert all(size is not None and size.nodes == 1 for size in sizes)
    together = parse(made.sweep.text.replace("seeds = 5", "").replace("[fixed]", "[fixed]\nmembers = 5"))
    points = estimate(plan(together), cluster)["points"]
    said = {point["params_non_embedding"]: point["misfit"] for point in points if point["misfit"]}
    assert set(said) == {364_954_624, 973_146_112}, "why members are seeds"
    assert all("; members = 1 and seeds = 5 train its 5 members one after another" in text for text in said.values())


def test_the_models_have_their_published_sizes() -> None:
    groups = plan(read(FOLDER / "joint.toml")).groups
    assert {group.cost.params for group in groups} >= {154_147_328, 299_649_792}


@pytest.mark.parametrize("edition", [".", "cpu"])
@pytest.mark.parametrize("recipe", ["standard", "regularized"])
def test_recipes_differ_in_what_they_tune_alone(edition: str, recipe: str) -> None:
    sweep = read(FOLDER / edition / f"{recipe}.toml")
    check(sweep)
    tuned = {"standard": ("epochs", "lr"), "regularized": ("epochs", "lr", "weight_decay")}
    assert sweep.names("nuisance") == tuned[recipe]
    other = read(FOLDER / edition / "standard.toml")
    assert sweep.names("scientific") == other.names("scientific")
    assert {**sweep.fixed, "weight_decay": 0.1} == dict(other.fixed)
    assert axis(sweep, "epochs") == axis(other, "epochs")


def teachers() -> list[Described]:
    """The trials of the teachers' sweep, as models that a store keeps."""
    made = plan(read(FOLDER / "teachers.toml"))
    specs = [group.spec(i) for group in made.groups for i in range(len(group.ids))]
    specs.sort(key=lambda spec: int(spec["seed"]))
    return [Described(MemberName(Kept(spec.trial_id)), spec.knobs) for spec in specs]


def test_five_of_the_eight_teachers_are_members_of_the_ensemble() -> None:
    found, ensemble = teachers(), plan(read(FOLDER / "ensemble.toml"))
    assert [one.knobs["seed"] for one in found] == list(range(8))
    assert {one.name.kept.trial_id for one in found[:5]} <= set(ensemble.ids)


@pytest.mark.parametrize(
    ("recipe", "count", "weight", "steps"), [("distilled", 8, 0.9, 128_000), ("self_distilled", 1, 0.75, 51_200)]
)
def test_students_name_the_text_of_their_teachers_and_begin_at_the_published_setting(
    recipe: str, count: int, weight: float, steps: int
) -> None:
    sweep = read(FOLDER / f"{recipe}.toml")
    check(sweep)
    made = recipe_of(teachers()[:count], SamplingRequest("", 10_000_000_000), 4096)
    assert sweep.fixed["synthetic"] == f"synthetic:{id_of(made)}?vocab=128256"
    start = {"epochs": 16, "lr": 3e-3, "weight_decay": 0.1, "synthetic_weight": weight}
    assert getattr(sweep.search, "start", None) == start
    workload = sweep.workload
    knobs = workload.resolve({**sweep.fixed, **start, "unique_tokens": BUDGETS[0]})
    student = TrialSpec.of(workload.name, workload.knobs, knobs)
    assert workload.cost(student).steps == steps
    teacher = teachers()[0].knobs
    tuned = (*start, "seed", "synthetic")
    assert {name: value for name, value in student.knobs.items() if name not in tuned} == {
        name: value for name, value in teacher.items() if name not in tuned
    }
    if count == 1:
        assert teachers()[0].name.kept.trial_id in sweep.text


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("fixed = { members = 4 }\nscientific = { width = [16] }", True),
        ('keep = "final"\nfixed = { members = 4 }\nscientific = { width = [16] }', False),
        ("scientific = { width = [16] }\nnuisance = { members = [1, 3] }", True),
        ("scientific = { width = [16] }", False),
        ('workload = "surrogate"\nscientific = { params = [1e6] }', False),
    ],
)
def test_a_sweep_of_ensembles_that_keeps_no_weights_says_so(sweep, said):
    found = unkept_ensembles(parse(f'name = "mine"\n{sweep}\n'))
    assert bool(found) is said
    assert all("keep = 'final'" in sentence for sentence in found)


def test_the_sweep_of_grokking_is_a_grid_of_what_it_says() -> None:
    made = plan(read(ROOT / "orchestrator/sweeps/grokking.toml"))
    assert {len(group.ids) for group in made.groups} == {12}  # four decays of three seeds train as one
    assert [group.cost.unique_tokens for group in made.groups] == [round(961 * share) for share in (0.5, 0.6, 0.7, 0.8)]
    assert all(group.cost.steps == 2000 for group in made.groups)


def test_the_sweep_without_decay_compares_the_losses_and_gradients_of_its_source() -> None:
    sweep = read(ROOT / "orchestrator/sweeps/grokking_without_decay.toml")
    assert sweep.fixed["weight_decay"] == 0.0
    found = {(group.shared["loss_function"], group.shared["orthogonal_gradient"]) for group in plan(sweep).groups}
    assert found == {("softmax", False), ("softmax", True), ("stablemax", False), ("stablemax", True)}
