"""Text sampled from trained models, one model or an ensemble, with a cache of keys and values; and corpora of it.

Inference only. How the text is trained on is `corpus` and the workloads.
"""
