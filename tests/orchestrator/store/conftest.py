"""Fixtures of the tests of hostile stores."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.store.hostile import make_base, make_outside


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a launched store and its sweep files."""
    return make_base(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder beside the stores."""
    return make_outside(tmp_path_factory.mktemp("outside"))
