"""Kept weights of finished trials: read as models that predict, and written in the layout of other tools."""
