"""Where trials run: cluster profiles, connections to Ray, and what is submitted to Slurm, Kubernetes and clouds.

Of the other packages only the error of bad input is imported.
"""
