"""Where the next runs should go: a joint surface of the loss over knobs and cells, learnt while searching.

`Guide` proposes runs from the records so far and answers with the best settings of each cell, their intervals and the
laws that they follow. It knows arrays alone: candidates with their settings, cells and costs.
"""
