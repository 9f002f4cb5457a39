"""Settings for a model that was not swept, by the laws of runs or by a published law."""

from __future__ import annotations
