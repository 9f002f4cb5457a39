"""Which pack starts next and where, how workers are fed, and what happens when one of them dies.

`dispatcher` decides and knows no Ray; `ray_tune` is the backend that keeps workers on a Ray cluster. Nothing here reads
or writes a store.
"""
