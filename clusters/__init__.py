"""Where trials run: cluster profiles, connections to Ray, and what is submitted to Slurm, Kubernetes and clouds.

Trials, sweeps and stores are unknown here.
"""
