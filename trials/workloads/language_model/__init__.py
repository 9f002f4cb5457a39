"""The built-in workload: train a decoder-only transformer on a corpus, alone or as an ensemble of seeds.

What is special to language models and their knobs. Training in general, for any stack of members, is `trials.training`.
"""

from __future__ import annotations

from sweeplaw.trials.workloads.language_model.workload import LanguageModel as LanguageModel
