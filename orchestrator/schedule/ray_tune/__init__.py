"""The Ray Tune backend of the dispatcher: one Tune trial a worker, the actors that run packs, and patches to Tune.

Decisions about placement and retries stay in `schedule`.
"""
