"""Cards of a report: each function turns what was found in a store into a card, or None where there is nothing to show.

Nothing is fitted here. Charts are drawn by `analysis.report.charts`.
"""
