"""A simulated cluster: the dispatcher's decisions on a virtual clock, with failures and preemptions. No Ray.

`cluster` is the backend, `launch` runs a queue on it, and `simulation` a plan several times: how long it takes, and
what is idle or wasted.
"""
