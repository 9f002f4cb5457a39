"""Names of kept models: a trial, one of its members, a snapshot; and which model of a file a name means."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.members import MemberName

TRIAL = "0123456789abcdef0123"


@pytest.mark.parametrize(
    ("end", "number", "step"), [("", None, None), (":2", 2, None), ("@40", None, 40), (":0@7", 0, 7)]
)
def test_a_name_is_a_trial_a_member_and_a_step(end: str, number: int | None, step: int | None) -> None:
    name = MemberName.of(f"{TRIAL}{end}")
    assert (name.kept.trial_id, name.number, name.kept.step) == (TRIAL, number, step)
    assert str(name) == f"{TRIAL}{end}"


def test_a_trial_of_several_members_does_not_name_one() -> None:
    one, three = (SimpleNamespace(members=members) for members in (1, 3))
    weights: Any
    for weights, end, index in ((one, "", 0), (one, ":0", 0), (three, ":0", 0), (three, ":2", 2)):
        assert MemberName.of(f"{TRIAL}{end}").index(weights) == index
    weights = three
    with pytest.raises(InputError, match=rf"trial {TRIAL} has 3 members \(accepted: :0 to :2 after its id\)"):
        MemberName.of(TRIAL).index(weights)
