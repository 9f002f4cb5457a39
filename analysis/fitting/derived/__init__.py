"""What follows from a fitted law, with an interval: allocations of compute, the frontier, the loss at a point.

Functions of one finished fit. Whether the law may be used for them is `adequacy`, and other laws are `scaling`.
"""
