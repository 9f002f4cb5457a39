"""The code of a worker process: run a pack of trials, produce its rows, and state where they were measured.

No scheduler, store or Ray here: of a private Ray only the scratch folder is known (`clusters.connect.private`).
"""
