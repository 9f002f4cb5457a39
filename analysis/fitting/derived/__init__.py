"""What follows from a fitted law, with an interval: allocations of compute, the frontier, the loss at a point."""

from __future__ import annotations
