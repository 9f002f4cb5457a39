"""Recipes of training: two of them over the same runs, their difference and what it is worth, and mistuned rungs."""

from __future__ import annotations
