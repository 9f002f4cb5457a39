"""`sweeplaw sample`: text sampled from kept models, as a corpus for other trials."""

from __future__ import annotations

from typing import Annotated

import typer

from sweeplaw.orchestrator.cli.shared.models import complete
from sweeplaw.orchestrator.cli.shared.output import Json, emit_json


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    store: Annotated[str, typer.Argument(metavar="STORE")],
    trial: Annotated[
        list[str], typer.Option(metavar="ID", help="A teacher: TRIAL_ID[:MEMBER][@STEP]. Give it once for each.")
    ],
    tokens: Annotated[str, typer.Option(metavar="N", help="Tokens, in whole sequences of the teachers' context: 1M.")],
    mix: Annotated[
        str, typer.Option(help="documents: authors take turns; logits: all write every token.")
    ] = "documents",
    temperature: Annotated[float, typer.Option(help="Of the softmax; 0 takes the likeliest token.")] = 1.0,
    prompt_tokens: Annotated[int, typer.Option(help="Real tokens at the beginning of each sequence.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the prompts and the text.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Sequences at a time, up to 256.")] = 64,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Json = False,
) -> None:
    """Sample text from finished trials whose weights STORE keeps (keep = "final" in their sweep), into STORE.

    Prints the name of the corpus, synthetic:ID, for sweeps of workload = { kind = "language_model", store = "STORE" }.
    The id is a digest of teachers and options: the same call again prints the same name and samples nothing. A trial
    of several members stands for all of them.

    Example: sweeplaw sample results/mine --trial 0c59c2f4f2f1a0e3a1b2 --tokens 1M
    """
    from sweeplaw.orchestrator.cli.shared.options import number
    from sweeplaw.orchestrator.cli.shared.progress import progress_bar
    from sweeplaw.orchestrator.launch.evaluation.synthesis import sample as run
    from sweeplaw.orchestrator.store.store import Store
    from sweeplaw.trials.quantities import short
    from sweeplaw.trials.sampling.corpora import Request

    opened = Store.open(store)
    teachers = ",".join(complete(opened, name) for name in trial)
    request = Request(teachers, int(number(tokens)), mix, temperature, prompt_tokens, seed)
    with progress_bar("sampling tokens") as progress:
        found = run(opened, request, batch=batch, threads=threads, device=device, progress=progress)
    if json:
        emit_json({"corpus": found.name, "sampled": found.anew, **found.facts})
        return
    typer.echo(found.name)
    facts = found.facts
    made = f"sampled in {facts['seconds']:.3g} s" if found.anew else "there already; nothing was sampled"
    typer.echo(f"{short(facts['tokens'])} tokens, {short(facts['flops'])} FLOPs, {made}", err=True)
