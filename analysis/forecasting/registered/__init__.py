"""Forecasts written down before the run: registered with a digest, and scored against what happened."""

from __future__ import annotations
