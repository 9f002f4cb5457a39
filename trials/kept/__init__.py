"""Kept weights of finished trials: read as models that predict, and written in the layout of other tools.

Their files are `store_format`. Nothing here trains; sampling text from these models is `sampling`.
"""
