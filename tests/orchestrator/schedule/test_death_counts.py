"""Which deaths count: those of the trial's own, not those of its node, nor those after progress; all within bounds."""

from sweeplaw.orchestrator.plan.plan import Group
from sweeplaw.orchestrator.schedule.death_counts import MOST_EXCUSED, Death, DeathCounts
from sweeplaw.orchestrator.schedule.packs import Pack, Queue
from sweeplaw.trials.accounting import Cost

LOST = Death(node_lost=True)


def verdicts(counts, *deaths):
    return [counts.died("trial", death) for death in deaths]


def test_a_trial_is_given_up_at_the_allowed_number_of_its_own_deaths():
    assert verdicts(DeathCounts(3), Death(), Death(), Death()) == ["again", "again", "give up"]
    assert verdicts(DeathCounts(1), Death(final=True)) == ["give up"]


def test_lost_nodes_do_not_count_but_a_trial_that_takes_every_node_with_it_is_given_up():
    counts = DeathCounts(2)
    assert verdicts(counts, *[LOST] * MOST_EXCUSED) == ["again"] * MOST_EXCUSED
    assert verdicts(counts, Death(), LOST) == ["again", "give up"]


def test_deaths_after_progress_never_count():
    counts = DeathCounts(1)
    moving = [Death(saved=True, step=10 * n) for n in range(1, 200)]
    assert set(verdicts(counts, *moving)) == {"again"}
    assert verdicts(counts, Death(saved=False, step=5000)) == ["give up"], "it moved, and kept nothing of it"


def test_a_trial_that_dies_again_and_again_at_one_step_is_given_up_though_it_writes_checkpoints():
    found = verdicts(DeathCounts(1), *[Death(saved=True, step=100)] * 30)
    assert found.index("give up") == MOST_EXCUSED + 1
    without_steps = verdicts(DeathCounts(1), *[Death(saved=True)] * 30)
    assert without_steps.index("give up") == MOST_EXCUSED


def test_progress_forgives_the_nodes_lost_before_it():
    counts = DeathCounts(1)
    for step in range(1, 10):
        assert set(verdicts(counts, *[LOST] * MOST_EXCUSED, Death(saved=True, step=step))) == {"again"}


def test_an_outcome_of_its_own_begins_the_count_anew():
    counts = DeathCounts(2)
    assert verdicts(counts, Death()) == ["again"]
    counts.forget("trial")
    assert verdicts(counts, Death(), Death()) == ["again", "give up"]


def queue_of(trials, **options):
    ids = tuple(f"g-{n}" for n in range(trials))
    pack = Pack((Group("w", {}, ("seed",), tuple((n,) for n in range(trials)), ids, Cost()),), float(trials))
    return pack, Queue([], **options)


def waiting(queue):
    found = []
    while pack := queue.take():
        found += [(trial, pack.attempt) for group in pack.groups for trial in group.ids]
    return found


def test_a_trial_is_held_until_the_reason_of_its_last_death_is_known():
    for node_lost, left, given_up in ((True, [("g-0", 2)], []), (False, [], [0])):
        pack, queue = queue_of(2, max_attempts=1)
        assert queue.died(pack, set(), Death(open=True)) == []
        assert waiting(queue) == [("g-1", 1)], "the one behind it runs at once"
        assert queue.holds
        assert [spec["seed"] for spec in queue.settled(pack, set(), node_lost=node_lost)] == given_up
        assert waiting(queue) == left
        assert not queue.holds


def test_a_death_that_is_excused_later_leaves_its_attempt_to_the_trial():
    pack, queue = queue_of(1, max_attempts=2)
    queue.died(pack, set(), Death(open=True))
    (again,) = [queue.take()]
    assert queue.settled(pack, set(), node_lost=True) == []
    assert queue.died(again, set(), Death()) == []
    assert waiting(queue) == [("g-0", 3)]
