"""What a trial can run: one implementation of the workload contract (`trials/workload.py`) a module or folder.

Nothing outside a workload may depend on which one it has; they are loaded by name through `registry`.
"""
