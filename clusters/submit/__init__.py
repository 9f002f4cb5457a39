"""Files and commands that hand a sweep to Slurm, Kubernetes, a cloud or Ray's job server.

They are written from a profile; nothing here plans or runs a trial.
"""
