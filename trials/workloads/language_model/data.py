"""What a trial trains on and is measured on, opened: text, teachers and the weights that it begins with."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from sweeplaw.trials.corpus.order import Mixture
from sweeplaw.trials.corpus.streams import DataBudget
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.kept.teachers import Described, load
from sweeplaw.trials.sampling.corpora import open_synthetic, open_text
from sweeplaw.trials.spec import TrialSpec
from sweeplaw.trials.store_format.location import locate
from sweeplaw.trials.training.distillation import SoftLabels
from sweeplaw.trials.training.parametrization.layout import layout
from sweeplaw.trials.training.train import Data
from sweeplaw.trials.workloads.language_model.resolve import shape_of, validation_corpus
from sweeplaw.trials.workloads.language_model.sources import starts, teachers

IDENTITY_WINDOWS = 64  # enough to detect another corpus, not that one late token was changed


def open_data(spec: TrialSpec, store: str | None, device: str) -> Data:
    """Return the data of a trial; ``store`` has its synthetic text, teachers and initial weights. Raise InputError."""
    budget, held_out = _text(spec, store)
    soft_labels = initial = None
    if spec["teachers"]:
        models = _loaded(teachers(spec, store), store, device)
        soft_labels = SoftLabels(_Predictions(models), spec["teacher_weight"], spec["teacher_temperature"])
    if spec["init_from"]:
        models = _loaded(starts(spec, store), store, "cpu")
        initial = torch.stack([_flat(model, spec) for model in models])
    return Data(budget, held_out, soft_labels, initial)


def identity(spec: TrialSpec, store: str | None, device: str) -> str:
    """Return everything that determines a run: its spec, the type of device, and the text under the corpora's names."""
    budget, held_out = _text(spec, store)
    parts = [budget.real, held_out, budget.synthetic] if isinstance(budget, Mixture) else [budget, held_out]
    windows = [part.read(np.arange(min(part.size, IDENTITY_WINDOWS))) for part in parts]
    return json.dumps([spec.canonical(), device, [zlib.crc32(tokens.tobytes()) for tokens in windows]])


def _text(spec: TrialSpec, store: str | None) -> tuple[DataBudget | Mixture, DataBudget]:
    tokenizer, context = spec["tokenizer"], spec["context"]
    real = open_text(spec["corpus"], tokenizer, store).budget(context, spec["unique_tokens"])
    held_out = open_text(validation_corpus(spec.knobs), tokenizer, store).held_out(context, spec["validation_tokens"])
    if not spec["synthetic"]:
        return real, held_out
    synthetic = open_synthetic(spec["synthetic"], tokenizer, context, store)
    return Mixture(real, synthetic, spec["synthetic_weight"]), held_out


def _loaded(models: Sequence[Described], store: str | None, device: str) -> list[KeptModel]:
    location = locate(store or "")
    return [load(location, one.name, device) for one in models]


class _Predictions:
    """The mean logits of some models."""

    def __init__(self, models: Sequence[KeptModel]) -> None:
        self._models = models

    def __call__(self, tokens: Tensor) -> Tensor:
        first, *others = (model.predict(tokens).float() for model in self._models)
        for logits in others:
            first += logits
        return first.div_(len(self._models))


def _flat(model: KeptModel, spec: TrialSpec) -> Tensor:
    """Return all weights of a model in the order of the trainer's buffer."""
    return torch.cat([model.tensors[slot.name].flatten() for slot in layout(shape_of(spec.knobs))])
