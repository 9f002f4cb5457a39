"""The features of a law for an optimum: which axes a knob's law has, centred logs, and factors of recipes."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from sweeplaw.analysis.hyperlaws.features import default_axes, features
from sweeplaw.trials.errors import InputError


@pytest.mark.parametrize(
    ("knob", "axes", "own"),
    [
        ("batch_tokens", ["N", "D"], ("D",)),
        ("B", ["params", "tokens"], ("tokens",)),
        ("bs", ["N", "D"], ("D",)),
        ("batch", ["N"], ("N",)),  # without a token axis, what there is
        ("lr", ["N", "D"], ("N", "D")),
        ("beta2", ["N", "D"], ("N", "D")),
        ("lr", [], ()),
    ],
)
def test_the_best_batch_depends_on_tokens_alone_and_other_knobs_on_every_axis(
    knob: str, axes: list[str], own: tuple[str, ...]
) -> None:
    assert default_axes(knob, axes) == own


def cells(n: list[float], d: list[float], knobs: tuple[str, ...] = ("lr", "bs"), **recipes: list[str]) -> Any:
    frame = pl.DataFrame({"N": n, "D": d, **recipes})
    logs = np.log(frame.select("N", "D").to_numpy())
    return SimpleNamespace(axes=("N", "D"), recipes=tuple(recipes), knobs=knobs, cells=frame, log_axes=logs)


N, D = [1e6, 1e6, 4e6, 4e6, 16e6, 16e6], [1e8, 4e8, 1e8, 8e8, 2e8, 9e8]


def test_logs_are_centred_and_each_knob_has_its_own_axes() -> None:
    found = features(cells(N, D))
    assert found.names == ("1", "N", "D")
    assert found.allowed.tolist() == [[True, True, True], [True, False, True]]
    np.testing.assert_allclose(found.matrix[:, 1], np.log(N) - np.log(N).mean())
    np.testing.assert_allclose(found.matrix.mean(axis=0), [1, 0, 0], atol=1e-12)
    middle = {"N": float(np.exp(np.log(N).mean())), "D": float(np.exp(np.log(D).mean()))}
    np.testing.assert_allclose(found.at(middle), [1, 0, 0], atol=1e-12)
    np.testing.assert_allclose(found.at({"N": N[3], "D": D[3]}), found.matrix[3])
    assert features(cells(N, D), {"bs": ["N"]}).allowed.tolist()[1] == [True, True, False]


def test_a_recipe_has_a_factor_beside_that_of_most_cells() -> None:
    table = cells(N, D, ("lr",), optimizer=["muon", "adamw", "adamw", "adamw", "muon", "adamw"])
    found = features(table)
    assert found.names == ("1", "N", "D", "optimizer=muon")
    assert found.matrix[:, 3].tolist() == [1, 0, 0, 0, 1, 0]
    assert found.allowed.all()
    assert found.notes == (
        "the laws are those of optimizer = adamw, which has most cells; the other recipes have a factor",
    )
    assert found.at({"N": 1e6, "D": 1e8}, {"optimizer": "muon"})[3] == 1
    assert found.at({"N": 1e6, "D": 1e8})[3] == 0
    assert features(table, offsets=False).names == ("1", "N", "D")
    even = cells(N, D, ("lr",), optimizer=["b", "a"] * 3)
    assert features(even).names[-1] == "optimizer=b", "of equals the first in order is the reference"


def test_an_axis_that_hardly_varies_is_left_out_with_its_span() -> None:
    found = features(cells([1e6, 1.04e6, 1e6, 1.04e6], D[:4]))
    assert found.names == ("1", "D")
    assert found.notes == ("N spans a factor of 1.04 only: its exponent cannot be determined and is left out",)


@pytest.mark.parametrize(
    ("table", "on", "message"),
    [
        (cells(N, [20 * n for n in N]), {}, "N and D moved together; their exponents cannot be distinguished"),
        (cells(N[:3], D[:3]), {"bs": ["D"]}, "lr: a law of 3 terms needs at least 4 cells; there are 3"),
        (cells(N, D), {"lrr": ["N"]}, "'lrr' is not one of the knobs"),
        (cells(N, D), {"lr": ["M"]}, "'M' (for lr) is not one of the cell axes N, D"),
        (
            cells(N, D, ("lr",), optimizer=["a", "a", "b", "b", "c", "c"]),
            {},
            "each optimizer has one N, so that the effects of optimizer and N cannot be separated: leave optimizer",
        ),
    ],
)
def test_what_cannot_be_distinguished_is_refused(table: Any, on: dict[str, list[str]], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        features(table, on)
