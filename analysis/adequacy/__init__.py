"""Whether a fitted law may be believed: is its optimum found, does it describe the rows, are its parameters known."""
