"""One launch: subtract what the store has, claim the rest, run it on a backend, record every row, keep account.

How packs are placed is `schedule`, how rows become durable is `store`.
"""
