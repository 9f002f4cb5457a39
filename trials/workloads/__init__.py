"""Workloads that a trial can run: one implementation of the interface `trials/workload.py` per module or folder.

They are loaded by name through `registry`; no code outside depends on a particular one.
"""
