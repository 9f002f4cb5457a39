"""`sweeplaw sample`: text sampled from kept models, as a corpus for other trials."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sweeplaw.orchestrator.cli.shared.models import checked
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json

if TYPE_CHECKING:
    from sweeplaw.trials.sampling.corpora import SampledCorpus, SamplingRequest


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    tokens: Annotated[
        str, typer.Option(metavar="N", help="Tokens, 1M; with --best, a formula too: '16 * unique_tokens'.")
    ],
    trial: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A teacher: TRIAL_ID[:MEMBER][@STEP] (repeatable).")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best", help="A text from the best setting of each scientific point, all its seeds.")
    ] = False,
    sweep: Annotated[str | None, typer.Option(metavar="NAME", help="With --best: the sweep, of several.")] = None,
    mix: Annotated[
        str, typer.Option(help="documents: one teacher per document; logits: average all teachers at each token.")
    ] = "documents",
    temperature: Annotated[float, typer.Option(help="Softmax temperature; 0 takes the most likely token.")] = 1.0,
    prompt_tokens: Annotated[int, typer.Option(help="Real tokens at the beginning of each sequence.")] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the prompts and the text.")] = 0,
    batch: Annotated[int, typer.Option(help="Sequences at a time, up to 256.")] = 64,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Json = False,
) -> None:
    """Sample text from finished trials whose weights STORE keeps (keep = "final" in their sweep), into STORE.

    Prints the name of the corpus, synthetic:ID, for sweeps of workload = { kind = "language_model", store = "STORE" }
    (sweeplaw derive writes them). The id is a digest of teachers and options: the same call again prints the same name
    and samples nothing, unless the text is damaged. A trial of several members stands for all of them.

    Example: sweeplaw sample results/mine --trial 0c59c2f4f2f1a0e3a1b2 --tokens 1M
    """
    from sweeplaw.orchestrator.cli.shared.progress import progress_bar
    from sweeplaw.orchestrator.launch.evaluation import synthesis
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.errors import InputError
    from sweeplaw.trials.sampling.corpora import SamplingOptions

    if bool(trial) == best:
        raise InputError("accepted: --trial ID, once for each teacher, or --best")
    opened = Store.open(store)
    options = SamplingOptions(mix, temperature, prompt_tokens, seed)

    def requests_of() -> list[SamplingRequest]:
        if best:
            return synthesis.requests_of_best(opened, tokens, options, sweep)
        teachers = checked(opened, trial or (), {"tokens": lambda: synthesis.request_of("", tokens, options)})
        return [synthesis.request_of(",".join(teachers), tokens, options)]

    requests = synthesis.checked(opened, requests_of, options, batch=batch, threads=threads, device=device)
    found = []
    for i, request in enumerate(requests, 1):
        what = f"sampling tokens, text {i} of {len(requests)}" if best else "sampling tokens"
        with progress_bar(what, lines=True) as progress:
            text = synthesis.sample(opened, request, batch=batch, threads=threads, device=device, progress=progress)
        found.append(text)
        if not json:
            _print(text)
    if json:
        values = [{"corpus": text.name, "sampled": text.anew, "replaced": text.damage, **text.facts} for text in found]
        emit_json(values if best else values[0])


def _print(text: SampledCorpus) -> None:
    from sweeplaw.trials.quantities import short

    facts = text.facts
    typer.echo(text.name)
    if text.damage:
        typer.echo(f"sampled anew: {text.damage}", err=True)
    made = f"sampled in {facts['seconds']:.3g} s" if text.anew else "there already; nothing was sampled"
    typer.echo(f"{short(facts['tokens'])} tokens, {short(facts['flops'])} FLOPs, {made}", err=True)
