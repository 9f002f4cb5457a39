"""Resolution of requests into knobs: a shape for a parameter count, data for tokens, canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sweeplaw.trials.accounting import Length, Shape, length
from sweeplaw.trials.corpus import names
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.spec import Knob, TrialSpec, Value
from sweeplaw.trials.workloads.language_model import shapes
from sweeplaw.trials.workloads.language_model.knobs import KNOBS, REQUESTS, SHAPE
from sweeplaw.trials.workloads.language_model.shapes import Count

_KNOWN: dict[str, Knob] = {knob.name: knob for knob in (*KNOBS, *REQUESTS) if not knob.member}
WEIGHTED = {"synthetic": "synthetic_weight", "teachers": "teacher_weight"}  # knobs of sources, and of their weights
_TARGETS: tuple[Count, ...] = ("params", "params_non_embedding")


def resolve(values: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    """Convert the requests among ``values`` into knobs. Raise InputError with all faults found."""
    asked, faults = _coerced(values)
    if faults:
        raise InputError(faults)
    found: dict[str, Value] = {}
    for part in (_data, partial(_corpus, folder=folder), partial(_sources, folder=folder), _shape):
        try:
            found |= part(asked | found)
        except InputError as error:
            faults += error.faults
            if "corpus" not in found and part is not _data:
                break  # without a corpus there is no vocabulary, and so no parameter count
    if faults:
        raise InputError(faults)
    requests = {knob.name for knob in REQUESTS}
    return {name: value for name, value in values.items() if name not in requests} | found


def _coerced(values: Mapping[str, Any]) -> tuple[dict[str, Value], list[str]]:
    """Return the values that this module reads, converted to their types, and a fault for each malformed one."""
    asked: dict[str, Value] = {}
    faults = []
    for name, value in values.items():
        if name in _KNOWN and value is not None:
            try:
                asked[name] = _KNOWN[name].coerce(value)
            except ValueError as error:
                faults.append(f"{name}: {error}")
    return asked, faults


def _corpus(asked: Mapping[str, Value], folder: Path | None) -> dict[str, Value]:
    corpus = names.canonical(str(asked.get("corpus", _KNOWN["corpus"].default)), folder)
    tokenizer = str(asked.get("tokenizer", _KNOWN["tokenizer"].default))
    return {"corpus": corpus, "tokenizer": names.canonical_tokenizer(corpus, tokenizer, folder)}


def _sources(asked: Mapping[str, Any], folder: Path | None) -> dict[str, Value]:
    """Return what is learnt from beside the corpus under canonical names; a source of weight 0 is left out."""
    found: dict[str, Value] = {}
    if asked.get("validation_corpus"):
        name = names.canonical(str(asked["validation_corpus"]), folder)
        found["validation_corpus"] = "" if name == asked["corpus"] else name
    if asked.get("synthetic"):
        found["synthetic"] = names.canonical(str(asked["synthetic"]), folder)
    found |= {source: "" for source, weight in WEIGHTED.items() if asked.get(source) and asked.get(weight) == 0}
    if "teacher_temperature" in asked and not {**asked, **found}.get("teachers"):
        found["teacher_temperature"] = _KNOWN["teacher_temperature"].default  # type: ignore[assignment]
    return found


def check_weights(knobs: Mapping[str, Any]) -> None:
    """Raise InputError for a source without a weight, or a weight without its source."""
    faults = []
    for source, weight in WEIGHTED.items():
        if knobs[source] and not knobs[weight]:
            faults.append(f"{source} = {knobs[source]!r} without {weight} (accepted: one above 0; 0 leaves it out)")
        if knobs[weight] and not knobs[source]:
            faults.append(f"{weight} = {knobs[weight]!r} without {source} (accepted: both, or neither)")
    if faults:
        raise InputError(faults)


def in_store(spec: TrialSpec) -> list[str]:
    """Return the knobs that name something in the store of the workload."""
    used = [name for name in ("synthetic", "teachers", "init_from") if spec[name]]
    corpora = [name for name in ("corpus", "validation_corpus") if spec[name]]
    return used + [name for name in corpora if names.parse(spec[name]).kind == names.SYNTHETIC]


def validation_corpus(knobs: Mapping[str, Any]) -> str:
    """Return the corpus whose held-out text gives the validation loss."""
    return str(knobs["validation_corpus"] or knobs["corpus"])


def _shape(asked: Mapping[str, Any]) -> dict[str, Value]:
    """Return depth, width, heads and hidden width: solved for a target, or completed by the rule of `shapes`."""
    targets = [target for target in _TARGETS if target in asked]
    given = [name for name in SHAPE if name in asked]
    if len(targets) > 1 or (targets and given):
        both = ", ".join(f"{name} = {asked[name]}" for name in (*targets, *given))
        raise InputError(f"{both}: accepted is one of params and params_non_embedding, or depth, width, heads, ffn")
    if targets:
        return _solved(asked, targets[0])
    if "width" not in asked and "depth" not in asked:
        return {}  # the size is not determined yet
    return _completed(asked)


def _solved(asked: Mapping[str, Any], target: Count) -> dict[str, Value]:
    options = {name: asked.get(name, _KNOWN[name].default) for name in ("tied_embeddings", "qk_norm")}
    try:
        shape = shapes.solve(
            asked[target], target, vocabulary=names.vocabulary(asked["corpus"], asked["tokenizer"]), **options
        )
    except ValueError as error:
        raise InputError(f"{target} = {asked[target]}: {error}") from error
    return {name: getattr(shape, name) for name in SHAPE}


def _completed(asked: Mapping[str, Any]) -> dict[str, Value]:
    width = asked.get("width") or shapes.default_width(asked["depth"])
    depth = asked.get("depth") or shapes.default_depth(width)
    heads = asked.get("heads") or shapes.default_heads(width)
    if width % (2 * heads):
        raise InputError(f"heads = {heads}: width = {width} is no even multiple of it (rotary positions turn pairs)")
    return {"depth": depth, "width": width, "heads": heads, "ffn": asked.get("ffn") or shapes.default_ffn(width)}


def _data(asked: Mapping[str, Any]) -> dict[str, Value]:
    """Return the unique tokens in whole windows, and the epochs if ``tokens`` and ``unique_tokens`` determine them."""
    context = asked.get("context", _KNOWN["context"].default)
    epochs = asked.get("epochs", _KNOWN["epochs"].default)
    found: dict[str, Value] = {}
    if "tokens" not in asked:
        unique_tokens = asked.get("unique_tokens", _KNOWN["unique_tokens"].default)
    elif "unique_tokens" not in asked:
        unique_tokens = round(asked["tokens"] / epochs)
    elif "epochs" not in asked:
        unique_tokens = asked["unique_tokens"]
        found["epochs"] = asked["tokens"] / unique_tokens
    else:
        raise InputError("tokens, unique_tokens and epochs are all given: accepted are two of them")
    if unique_tokens < context and ("unique_tokens" in asked or "tokens" in asked):
        raise InputError(f"unique_tokens = {unique_tokens} is less than one window of context = {context}")
    return found | {"unique_tokens": unique_tokens // context * context or unique_tokens}


def shape_of(knobs: Mapping[str, Any]) -> Shape:
    """Return the model shape of resolved knobs; the vocabulary comes from the corpus name."""
    return Shape(
        knobs["depth"],
        knobs["width"],
        knobs["heads"],
        knobs["ffn"],
        vocabulary=names.vocabulary(knobs["corpus"], knobs["tokenizer"]),
        tied_embeddings=knobs["tied_embeddings"],
        qk_norm=knobs["qk_norm"],
    )


def length_of(knobs: Mapping[str, Any]) -> Length:
    """Return the steps and tokens of resolved knobs."""
    needed = ("unique_tokens", "epochs", "batch_sequences", "context", "synthetic_weight")
    return length(*(knobs[name] for name in needed))
