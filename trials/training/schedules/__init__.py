"""Learning-rate schedules: how the rate of each update follows from the peak and from the length of the run.

Functions of step numbers alone: neither torch nor any state of a run.
"""
