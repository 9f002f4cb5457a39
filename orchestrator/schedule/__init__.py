"""Which pack starts next and where, how workers are fed, and what happens when one of them dies.

`dispatcher` decides and knows no Ray; the backends run workers: `ray_tune` on a Ray cluster, `inline` in this process.
Nothing here reads or writes a store.
"""
