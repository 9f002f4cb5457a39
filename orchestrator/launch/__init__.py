"""One launch: subtract what the store has, claim the rest, run it on a backend, record every row, account for its time.

`schedule` places packs and `store` makes rows durable.
"""
