"""Learning-rate schedules: how the rate of each update follows from the peak and from the length of the run."""
