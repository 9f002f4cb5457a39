"""Roles of columns: which knobs were tuned at each scientific point, which columns split runs into families.

By what launches recorded, else by the values themselves. Reads frames only: no fits, and no files.
"""
