"""Evaluations beside the validation loss: what trained models do on other text and on questions. Nothing trains."""
