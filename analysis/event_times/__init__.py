"""Laws of the time to an event (grokking, a loss reached), fitted to trials in which the event may be censored.

A trial without the event is right-censored: its time is only known to be above the last step seen. Leaving such trials
out, or counting their last step as the event, would bias every exponent.
"""
