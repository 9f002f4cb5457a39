"""Text sampled from trained models, one model or an ensemble, with a cache of keys and values; and corpora of it."""
