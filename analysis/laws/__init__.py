"""Laws as data: formulas, their compiled values and derivatives, and the catalog of published forms.

No data and no optimizer.
"""
