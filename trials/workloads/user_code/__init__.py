"""Workloads that run user code: a Python function, or a command in a process group of its own.

That code is not trusted: it may print, raise or leave behind anything.
"""
