"""Token corpora with one interface: a training stream, a validation stream, and nested data budgets.

A corpus is identified by one string, for example ``stdlib:3.11.7``, ``text:data/**/*.txt``,
``parquet:shards/*.parquet?column=text``, ``tokens:train.bin?vocab=50304``, ``hf:NAME?split=train``,
``markov:states=64,order=1``. Nothing here needs torch.
"""

from sweeplaw.trials.corpus.names import canonical, vocabulary
from sweeplaw.trials.corpus.open import open_corpus
from sweeplaw.trials.corpus.streams import Corpus, DataBudget, TokenStream

__all__ = ["Corpus", "DataBudget", "TokenStream", "canonical", "open_corpus", "vocabulary"]
