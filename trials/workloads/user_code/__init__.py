"""Workloads that run the user's own code: a Python function, or a command in a process group of its own.

Nothing here may trust what that code prints, raises or leaves behind.
"""
