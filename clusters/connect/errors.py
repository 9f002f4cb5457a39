"""The error of a cluster that cannot be reached, apart from bad input: the same launch may work later."""

from __future__ import annotations

from sweeplaw.trials.errors import InputError


class ConnectError(InputError):
    """A cluster could not be started or reached, or was lost."""
