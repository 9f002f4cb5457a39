"""Views of a sweep: status, the progress bar, Prometheus metrics, the column reference.

Read-only: nothing here changes what a launch does.
"""
