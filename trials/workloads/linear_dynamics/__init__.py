"""Gradient descent on a linear teacher and student, whose risk over time theory gives exactly."""
