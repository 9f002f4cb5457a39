"""Commands that plan, run and follow sweeps."""
