"""Recipes compared by their limits, as a section of a report and as a page of its own."""
