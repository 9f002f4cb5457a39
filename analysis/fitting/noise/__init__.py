"""The noise of the runs of a fit: which runs share it, how it changes with size, and what that does to intervals.

Nothing here changes a fitted parameter; it changes how far the parameter can be trusted.
"""
