"""Corpora with fewer tokens than trials ask for, found before a launch where they open quickly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from sweeplaw.trials.corpus.open import open_corpus, opens_quickly
from sweeplaw.trials.corpus.streams import Corpus, DataBudget
from sweeplaw.trials.errors import InputError, gathered
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.workloads.language_model.resolve import validation_corpus

Part = Callable[[Corpus, int, int], DataBudget]


def sentences(specs: Sequence[TrialSpec]) -> list[str]:
    """Return a sentence for each corpus that has fewer training or held-out tokens than a spec asks for, or cannot be
    opened. Corpora that are elsewhere or take longer to open are left out.
    """
    asked: dict[tuple[str, str, str, int, int], Part] = {}
    for spec in specs:
        tokenizer, context = str(spec["tokenizer"]), int(spec["context"])
        trained, validated = str(spec["corpus"]), validation_corpus(spec.knobs)
        asked[trained, tokenizer, "training", context, int(spec["unique_tokens"])] = Corpus.budget
        asked[validated, tokenizer, "validation", context, int(spec["validation_tokens"])] = Corpus.held_out
    quick = {corpus: opens_quickly(corpus) for corpus in dict.fromkeys(key[0] for key in asked)}
    try:
        gathered({key: partial(_taken, part, *key) for key, part in asked.items() if quick[key[0]]})
    except InputError as error:
        return list(error.faults)
    return []


def _taken(part: Part, corpus: str, tokenizer: str, _: str, context: int, tokens: int) -> DataBudget:
    return part(open_corpus(corpus, tokenizer), context, tokens)
