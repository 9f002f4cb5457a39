"""What people see of a sweep: status, the progress bar, Prometheus metrics, the reference of columns.

Read-only: nothing here may change what a launch does.
"""
