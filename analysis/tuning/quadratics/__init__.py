"""Quadratics of log loss in the logs of the knobs: many fitted together, with their uncertainty."""
