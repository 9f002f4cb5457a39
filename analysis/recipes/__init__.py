"""Recipes of training: compared over the same runs, by their limits where data is short, and mistuned rungs."""

from __future__ import annotations
