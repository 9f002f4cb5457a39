"""Text sampled from trained models, one model or an ensemble, with the keys and values of earlier positions kept."""
