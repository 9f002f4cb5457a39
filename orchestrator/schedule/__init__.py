"""Packs on Ray: which one starts next and where, how workers are fed, and what happens when one of them dies.

`lanes` decides with the floor's help and knows no Ray; `tune` keeps the workers, and `tune.run` is the way in; `run` is
what happens in between; `slot`, `ranks` and `stream` are what runs in workers; `nodes` tells which nodes are alive.
"""
