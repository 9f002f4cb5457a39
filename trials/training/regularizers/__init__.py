"""Regularizers of training beside weight decay: dropout, stochastic depth and label smoothing, for each member."""
