"""What runs in a worker process: a pack of trials, its rows, and where they were measured.

The scheduler, the store and Ray stay out.
"""
