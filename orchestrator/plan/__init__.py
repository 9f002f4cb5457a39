"""From a sweep file to the trials it asks for: axes, formulas, cost, resources, budget and retry policy. Pure.

Nothing here starts a trial, reads a store or knows a scheduler.
"""
