"""Decide, schedule, keep: from a sweep file to durable records."""
