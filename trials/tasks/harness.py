"""Tasks of lm-eval, the evaluation harness of EleutherAI: an ensemble of kept models behind its model interface."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows

from sweeplaw.trials.corpus.tokenizer import decode_tokens, encode_texts
from sweeplaw.trials.errors import InputError
from sweeplaw.trials.kept.model import KeptModel
from sweeplaw.trials.sampling.sample import sample
from sweeplaw.trials.tasks.likelihood import Continuation, batches, continuations, padded
from sweeplaw.trials.training.evaluation.ensemble import BATCH_LOGITS
from sweeplaw.trials.training.model import token_losses

GENERATED = 256  # tokens at most, where a task does not say
_METRICS = {"accuracy": "acc", "accuracy_normalized": "acc_norm", "accuracy_error": "acc_stderr"}


def scores(task: str, models: Sequence[KeptModel], tokenizer: str, context: int) -> dict[str, Any]:
    """Return what lm-eval finds for the ensemble of these models, by the mean of their logits.

    ``task`` is a name that lm-eval knows, or the path of a YAML file of a task. ``score`` is the first metric that the
    task reports, ``score_name`` its name. Raise InputError for a task that does not exist.
    """
    folder = str(Path(task).parent) if task.endswith(".yaml") else None
    name = _name_in(task) if folder else task
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        manager = _manager(folder)
        if name not in manager.all_tasks:
            raise InputError(f"task = 'lm-eval:{task}': lm-eval has no such task (its own list: lm-eval ls tasks)")
        ensemble = _Ensemble(models, tokenizer, context)
        found = simple_evaluate(ensemble, tasks=[name], task_manager=manager, log_samples=False)
    return _row(found["results"][name], found.get("n-samples", {}).get(name, {}))


@functools.cache
def _manager(folder: str | None) -> TaskManager:
    """Return the tasks in the YAML files of a folder, or those of lm-eval: 7 s of CPU to read its 14,000 files."""
    return TaskManager(include_path=folder, include_defaults=folder is None)


def _name_in(path: str) -> str:
    """Return the name of the task in a YAML file. Raise InputError."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads the functions that a task names as nothing."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    try:
        content = yaml.load(Path(path).read_text(), Loader)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"task = 'lm-eval:{path}' cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("task"), str):
        raise InputError(f"task = 'lm-eval:{path}' has no name (accepted: a YAML file with task: NAME)")
    return str(content["task"])


def _row(results: Mapping[str, Any], samples: Mapping[str, Any]) -> dict[str, Any]:
    """Return our columns of the results of one task, whose keys are ``METRIC,FILTER``."""
    values: dict[str, float] = {}
    for key, value in results.items():
        name, comma, _ = key.partition(",")
        if comma and isinstance(value, int | float):
            values.setdefault(name, float(value))
    first = next((name for name in values if not name.endswith("_stderr")), None)
    row = {ours: values[theirs] for ours, theirs in _METRICS.items() if theirs in values}
    row |= {"questions": int(samples["effective"])} if "effective" in samples else {}
    return {**row, "score": None if first is None else values[first], "score_name": first}


class _Ensemble(LM):  # type: ignore[misc]
    """Models of one tokenizer that read ``context`` tokens, as one model of lm-eval."""

    def __init__(self, models: Sequence[KeptModel], tokenizer: str, context: int) -> None:
        super().__init__()
        self._models, self._text, self._context = models, tokenizer, context
        _, self._end = encode_texts([], tokenizer)

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        return self._scored(continuations([request.args for request in requests], self._text, self._context))

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        found = []
        (prefix,) = self._end or [0]
        for request in requests:
            (tokens,), _ = encode_texts([request.args[0]], self._text)
            windows = get_rolling_token_windows(tokens, prefix, self._context, 1)
            texts = [
                Continuation((*before[: len(before) - len(own) + 1], *own), len(before) - len(own) + 1)
                for before, own in windows
            ]
            found.append(sum(value for value, _ in self._scored(texts)))
        return found

    def generate_until(self, requests: list[Instance]) -> list[str]:
        return [self._generated(*request.args) for request in requests]

    def _generated(self, before: str, options: Mapping[str, Any]) -> str:
        stops = options.get("until") or []
        stops = [stops] if isinstance(stops, str) else list(stops)
        most = min(int(options.get("max_gen_toks", GENERATED)), self._context - 1)
        (tokens,), _ = encode_texts([before], self._text)
        prompt = torch.tensor([[*self._end, *tokens][-(self._context - most) :] or [0]])
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        drawn = sample(self._models, prompt, most, temperature=temperature)[0, prompt.shape[1] :].tolist()
        text = decode_tokens(drawn, self._text)
        return text[: min((place for stop in stops if (place := text.find(stop)) >= 0), default=len(text))]

    @torch.no_grad()
    def _scored(self, texts: Sequence[Continuation]) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation in nats, and whether each of its tokens is the likeliest."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(texts)
        device = self._models[0].tensors["embedding"].device
        positions = BATCH_LOGITS[device.type] // (len(self._models) * self._models[0].shape.vocabulary)
        for batch in batches(texts, positions):
            tokens, counted = padded([texts[i] for i in batch])
            tokens = tokens.to(device)
            logits = torch.stack([model.predict(tokens[:, :-1]).float() for model in self._models]).mean(dim=0)
            losses = token_losses(logits[None], tokens[None, :, 1:])[0].cpu().double().view(counted.shape)
            likeliest = (logits.argmax(dim=-1) == tokens[:, 1:]).cpu() | ~counted
            values = -(losses * counted).sum(dim=1)
            for i, value, greedy in zip(batch, values.tolist(), likeliest.all(dim=1).tolist(), strict=True):
                found[i] = (value, greedy)
        return found
