"""Trials: their specification, cost, execution and files. Imports neither Ray nor the other packages of sweeplaw."""
