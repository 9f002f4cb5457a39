"""The knobs of a language model that trains in a fraction of a second."""

SMALL = {
    "corpus": "markov:states=12,spread=1.5,tokens=65536",
    "context": 16,
    "unique_tokens": 4096,
    "width": 16,
    "validation_tokens": 1024,
    "curve_points": 7,
    "evaluations": 2,
}
