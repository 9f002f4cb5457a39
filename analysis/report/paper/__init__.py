"""Figures for papers, by matplotlib: functions from values to a Figure, and the names under which a report offers them.

No pages and no SVG of our own: those are drawn by `analysis.report.charts`.
"""
