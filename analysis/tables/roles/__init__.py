"""Roles of columns: which knobs were tuned at each scientific point, which columns split runs into families."""
