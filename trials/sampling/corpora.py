"""Synthetic corpora: text sampled from kept models into a store, and opened from there under `synthetic:ID`.

Sequences have one token more than the teachers' context, as a training window has. Each begins with a prompt from the
training text of its teacher, at a place drawn anywhere in it, and goes on with what the teacher predicts. With
``mix = "documents"`` a sequence has one author and the authors take turns; with ``"logits"`` every token is drawn from
the mean of the logits of all teachers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sweeplaw.trials.accounting import palm_flops_per_token
from sweeplaw.trials.corpus.names import SYNTHETIC, canonical, canonical_tokenizer, parse
from sweeplaw.trials.corpus.open import open_corpus
from sweeplaw.trials.corpus.order import positions
from sweeplaw.trials.corpus.streams import Corpus, DataBudget, TokenStream
from sweeplaw.trials.errors import DamagedDataError, InputError, shown
from sweeplaw.trials.kept.teachers import TEXT, Described, describe, disagreements, load
from sweeplaw.trials.progress import ProgressCallback, no_progress
from sweeplaw.trials.quantities import disk_size
from sweeplaw.trials.store_format import kept_weights, synthetic_corpora, tensor_files
from sweeplaw.trials.store_format.location import Location
from sweeplaw.trials.store_format.synthetic_corpora import Sequences, SyntheticText, corpus_name

if TYPE_CHECKING:
    from sweeplaw.trials.kept.model import KeptModel

MIXES = ("documents", "logits")
DRAWN_TOGETHER = 256  # sequences that share a generator of random numbers: part of what an id means
LARGEST_SEED = 2**63 - 1
HELD_OUT_SHARE = 0.05  # of the sequences, where nothing else is named for validation
NOTHING: Mapping[str, Any] = MappingProxyType({})
FORWARD = 1 / 3  # of the FLOPs of training on a token


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How text is sampled. ``prompt_tokens`` of each sequence are real."""

    mix: str = "documents"
    temperature: float = 1.0
    prompt_tokens: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class SamplingRequest:
    """What is asked of a synthetic corpus: everything that determines its tokens.

    ``teachers`` are names of kept models with commas between them. ``tokens`` are those that a student of the same
    context learns to predict.
    """

    teachers: str
    tokens: int
    options: SamplingOptions = SamplingOptions()


@dataclass(frozen=True, slots=True)
class SampledCorpus:
    """A synthetic corpus: its ``name`` in a sweep file, what is known of it, and whether it was sampled ``anew``.

    ``damage`` is what was wrong with the file that it replaced, None if it replaced none.
    """

    name: str
    corpus_id: str
    facts: Mapping[str, Any]
    anew: bool
    damage: str | None = None


def option_faults(options: SamplingOptions) -> list[str]:
    """Return a sentence for each of these options that no teachers accept."""
    faults = []
    if options.mix not in MIXES:
        faults.append(f"mix = {options.mix!r} (accepted: {', '.join(MIXES)})")
    if not 0 <= options.temperature < float("inf"):
        faults.append(f"temperature = {options.temperature:g} (accepted: from 0 on)")
    if not 0 <= options.seed <= LARGEST_SEED:
        faults.append(f"seed = {shown(options.seed)} (accepted: 0 to {LARGEST_SEED})")
    return faults


def check(location: Location, request: SamplingRequest) -> None:
    """Raise InputError with every fault for which `sample_corpus` refuses a request before it samples."""
    _checked(location, describe(location, request.teachers), request)


def sample_corpus(
    location: Location,
    request: SamplingRequest,
    *,
    batch: int = 64,
    device: str = "cpu",
    known: Mapping[str, Any] = NOTHING,
    progress: ProgressCallback = no_progress,
) -> SampledCorpus:
    """Sample a corpus from models that the store at ``location`` keeps into this store, unless it is there already.

    A damaged file of this text is replaced. ``batch`` sequences are sampled at a time, ``known`` facts are kept with
    the others. Raise InputError with every fault; OSError if it cannot be written.
    """
    teachers = describe(location, request.teachers)
    context = _checked(location, teachers, request)
    recipe = recipe_of(teachers, request, context)
    corpus_id = synthetic_corpora.id_of(recipe)
    damage = None
    if synthetic_corpora.exists(location, corpus_id):
        try:
            facts = synthetic_corpora.facts_of(location, corpus_id)
            return SampledCorpus(corpus_name(corpus_id, facts), corpus_id, facts, anew=False)
        except DamagedDataError as error:
            damage = str(error)
    kept_weights.verify(location, dict.fromkeys(one.name.kept for one in teachers))
    prompts = _prompts(teachers, request, context, recipe["sequences"], location.uri)
    began = time.perf_counter()
    dtype = synthetic_corpora.dtype_of(teachers[0].vocabulary)
    with tensor_files.scratch_rows(location, (len(prompts), context + 1), dtype) as tokens:
        _sample(tokens, location, teachers, request, prompts, batch, device, progress)
        facts = {**_facts(teachers, request, tokens, context, time.perf_counter() - began), **known}
        synthetic_corpora.save(location, recipe, facts, tokens)
    return SampledCorpus(corpus_name(corpus_id, facts), corpus_id, facts, anew=True, damage=damage)


def open_text(corpus: str, tokenizer: str, store: str | None = None) -> Corpus:
    """Open the corpus of this name: a synthetic one from ``store``, any other as `open_corpus` does.

    5 % of the sequences of a synthetic corpus are held out. Raise InputError.
    """
    name = parse(canonical(corpus))
    if name.kind != SYNTHETIC:
        return open_corpus(corpus, tokenizer)
    found = load_text(corpus, tokenizer, store)
    held_out = max(1, round(HELD_OUT_SHARE * len(found.tokens)))
    if held_out >= len(found.tokens):
        raise InputError(f"corpus = {corpus!r} has {len(found.tokens)} sequence, too little to hold some out")
    train, validation = _stream(found.tokens[:-held_out]), _stream(found.tokens[-held_out:])
    return Corpus(corpus, found.facts["vocabulary"], train, validation)


def open_synthetic(corpus: str, tokenizer: str, context: int, store: str | None) -> DataBudget:
    """Return all windows of a synthetic corpus for training beside real text. Raise InputError."""
    found = load_text(corpus, tokenizer, store)
    stream = _stream(found.tokens)
    whole = Corpus(corpus, found.facts["vocabulary"], stream, stream)
    available = stream.windows(context) * context
    if not available:
        longest = stream.length - 1
        raise InputError(
            f"synthetic = {corpus!r} has sequences of {longest} tokens (accepted: context up to {longest})"
        )
    return whole.budget(context, available)


def load_text(corpus: str, tokenizer: str, store: str | None) -> SyntheticText:
    """Return the text of a synthetic corpus. Raise InputError, also if it has other tokens than this tokenizer's."""
    name = parse(corpus)
    if name.kind != SYNTHETIC:
        raise InputError(f"synthetic = {corpus!r} (accepted: synthetic:ID, which sweeplaw sample prints)")
    if store is None:
        raise InputError(f"{corpus!r} is in a store (accepted: workload.store, the path of that store)")
    found = synthetic_corpora.load(store, name.path)
    if found.facts["tokenizer"] != tokenizer:
        raise InputError(
            f"tokenizer = {tokenizer!r}, but {corpus!r} was sampled from models of tokenizer = "
            f"{found.facts['tokenizer']!r} (accepted: the same)"
        )
    if "vocab" in name.options and int(name.options["vocab"]) != found.facts["vocabulary"]:
        raise InputError(f"{corpus!r} has a vocabulary of {found.facts['vocabulary']} (accepted: that number)")
    return found


def _stream(tokens: Sequences) -> TokenStream:
    sequences, length = tokens.shape
    return TokenStream(tokens.reshape(-1), np.arange(sequences, dtype=np.int64) * length, length)


def _checked(location: Location, teachers: Sequence[Described], request: SamplingRequest) -> int:
    """Return the context of the teachers. Raise InputError with every fault of the request."""
    faults = disagreements(teachers, TEXT) + option_faults(request.options)
    context = min(int(one.knobs["context"]) for one in teachers)
    if not 1 <= request.options.prompt_tokens <= context:
        faults.append(
            f"prompt_tokens = {request.options.prompt_tokens} (accepted: 1 to {context}, the context of the teachers)"
        )
    if request.tokens < context:
        faults.append(f"tokens = {request.tokens} is less than one sequence of context = {context}")
    recipe = None if faults else recipe_of(teachers, request, context)
    if recipe is None or not synthetic_corpora.exists(location, synthetic_corpora.id_of(recipe)):
        rows = request.tokens // context
        itemsize = np.dtype(synthetic_corpora.dtype_of(teachers[0].vocabulary)).itemsize
        needed, free = 2 * rows * (context + 1) * itemsize, tensor_files.free_bytes(location)
        if needed > free:
            faults.append(
                f"tokens = {request.tokens} need {disk_size(needed)} of disk, where {disk_size(free)} are free"
            )
    if faults:
        raise InputError(faults)
    return context


def recipe_of(teachers: Sequence[Described], request: SamplingRequest, context: int) -> dict[str, Any]:
    """Return what determines the tokens, the same for every way to write it."""
    options = request.options
    return {
        **asdict(options),
        "mix": options.mix if len(teachers) > 1 else MIXES[0],
        "temperature": float(options.temperature),
        "teachers": [str(one.name) for one in teachers],
        "context": context,
        "sequences": request.tokens // context,
        "drawn_together": DRAWN_TOGETHER,
    }


def _prompts(
    teachers: Sequence[Described], request: SamplingRequest, context: int, sequences: int, store: str
) -> npt.NDArray[np.int64]:
    """Return the prompt of each sequence, (sequences, prompt tokens), from text that all teachers were trained on."""
    knobs = teachers[0].knobs
    unique_tokens = min(int(one.knobs["unique_tokens"]) for one in teachers)
    budget = open_text(knobs["corpus"], knobs["tokenizer"], store).budget(context, unique_tokens)
    windows = positions(budget.size, request.options.seed, 0, sequences)
    starts = np.random.default_rng(request.options.seed).integers(
        context + 2 - request.options.prompt_tokens, size=sequences
    )
    prompts = np.empty((sequences, request.options.prompt_tokens), dtype=np.int64)
    for first in range(0, sequences, DRAWN_TOGETHER):
        rows = slice(first, first + DRAWN_TOGETHER)
        places = starts[rows, None] + np.arange(request.options.prompt_tokens)
        prompts[rows] = np.take_along_axis(budget.read(windows[rows]), places, axis=1)
    return prompts


def _sample(
    tokens: Sequences,
    location: Location,
    teachers: Sequence[Described],
    request: SamplingRequest,
    prompts: npt.NDArray[np.int64],
    batch: int,
    device: str,
    progress: ProgressCallback,
) -> None:
    """Write all sequences to ``tokens``, (sequences, context + 1)."""
    import torch  # which opening a corpus does not need

    from sweeplaw.trials.sampling.sample import sample

    length, done = tokens.shape[1] - request.options.prompt_tokens, 0
    for models, rows, number in _authors(location, teachers, request.options.mix, len(prompts), device):
        for first in range(0, len(rows), DRAWN_TOGETHER):
            own = rows[first : first + DRAWN_TOGETHER]
            seed = int(
                np.random.SeedSequence([request.options.seed, number, first]).generate_state(1, np.uint64)[0] >> 1
            )
            starts = torch.from_numpy(prompts[own]).to(device)
            drawn = sample(models, starts, length, temperature=request.options.temperature, seed=seed, batch=batch)
            tokens[own] = drawn.cpu().numpy()
            done += tokens[own].size
            progress(done, tokens.size)


def _authors(
    location: Location, teachers: Sequence[Described], mix: str, sequences: int, device: str
) -> Iterator[tuple[list[KeptModel], npt.NDArray[np.int64], int]]:
    """Yield the models that write together, the sequences that they write, and their number."""
    if mix == "logits":
        yield [load(location, one.name, device) for one in teachers], np.arange(sequences), 0
        return
    for number, one in enumerate(teachers):
        yield [load(location, one.name, device)], np.arange(number, sequences, len(teachers)), number


def _facts(
    teachers: Sequence[Described], request: SamplingRequest, tokens: Sequences, context: int, seconds: float
) -> dict[str, Any]:
    """Return what is known of the text beside its recipe. FLOPs are those of the forward passes at full context."""
    each = [FORWARD * palm_flops_per_token(one.shape, context) for one in teachers]
    by_position = sum(each) if request.options.mix == "logits" else sum(each) / len(each)
    return {
        "tokens": len(tokens) * context,
        "vocabulary": teachers[0].vocabulary,
        "tokenizer": canonical_tokenizer(teachers[0].knobs["corpus"], teachers[0].knobs["tokenizer"]),
        "real_corpus": teachers[0].knobs["corpus"],
        "flops": by_position * len(tokens) * context,
        "seconds": seconds,
    }
