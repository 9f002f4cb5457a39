"""The tools of an agent: each asks one command about the store, and answers with its JSON."""

from __future__ import annotations

import tempfile
from typing import Annotated, Any

from bs4 import BeautifulSoup
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from sweeplaw.analysis.report.answer import answer
from sweeplaw.orchestrator.agents.command import answered
from sweeplaw.trials.errors import InputError

Where = Annotated[str, Field(description="SQL condition on the trials, such as tokens > 1e9; empty for all.")]
Answer = dict[str, Any]


class StoreTools:
    """Tools that read one store. Each raises ToolError with the message that the command prints."""

    def __init__(self, store: str, folder: str) -> None:
        """``folder`` is for what commands leave; it exists, and is removed by who made it."""
        self._store, self._folder = store, folder

    async def status(self) -> Answer:
        """How far the sweeps of the store are: trials by state, time left, wasted device time, the best loss."""
        return await self._ask("status", "--", self._store)

    async def query(
        self,
        sql: Annotated[
            str, Field(description="One SELECT, such as: SELECT N, D, val_loss, lr FROM best ORDER BY N, D")
        ],
        limit: Annotated[int, Field(ge=1, le=10_000, description="The most rows to return.")] = 200,
    ) -> Answer:
        """SQL over the tables trials (a row a trial), curves (a row an evaluation) and best (the best setting of each
        point). N, D and C stand for params_non_embedding, tokens and flops. The answer has the rows under `answer`.
        """
        return await self._ask("query", f"--limit={limit}", "--", self._store, sql)

    async def columns(self) -> Answer:
        """The columns of the store's tables, each with type, unit and meaning."""
        return await self._ask("columns", "--", self._store)

    async def fit(
        self,
        law: Annotated[
            str, Field(description="A law, such as additive or power, or a formula: E + A/N**a")
        ] = "additive",
        where: Where = "",
        compute: Annotated[
            tuple[float, ...], Field(max_length=100, description="Budgets in FLOPs to divide into N and D.")
        ] = (),
    ) -> Answer:
        """Fit a scaling law: parameters with 95 % intervals, and the verdicts that say whether they may be used.

        Under `adequacy` are the verdicts: no number of a fit that is not verified, adequate and identified should be
        quoted. What may not be advised is null, with the reason under `withheld`.
        """
        options = [*([f"--where={where}"] if where else []), *(f"--compute={flops!r}" for flops in compute)]
        return await self._ask("fit", f"--law={law}", *options, "--", self._store)

    async def suggest(
        self,
        params: Annotated[float, Field(gt=0, description="N, parameters of the model.")],
        tokens: Annotated[float, Field(gt=0, description="D, training tokens.")],
        where: Where = "",
    ) -> Answer:
        """Hyperparameters for a model of this size on these tokens, from the laws of the store's tuned runs."""
        options = [f"--params={params!r}", f"--tokens={tokens!r}", *([f"--where={where}"] if where else [])]
        return await self._ask("suggest", *options, f"--store={self._store}")

    async def report(
        self,
        section: Annotated[str, Field(description="A name under `sections`; empty for the answer in sentences.")] = "",
    ) -> Answer:
        """What the runs say, in sentences for each family of runs, and the names of the sections with the numbers: ask
        again with a section for its values.
        """
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            found = await self._ask("report", f"--out={folder}", "--", self._store)
        values = {name: value for name, value in found["answer"].items() if name not in ("html", "json")}
        if not section:
            sentences = {one["name"]: [_text(part) for part in answer(one)] for one in values["families"]}
            return {**found, "answer": sentences, "sections": list(values)}
        if section not in values:
            raise ToolError(f"section {section!r} is not known (accepted: {', '.join(values)})")
        return {**found, "answer": values[section]}

    async def _ask(self, command: str, *words: str) -> Answer:
        try:
            value, damaged = await answered(command, *words)
        except InputError as error:
            raise ToolError(str(error)) from None
        return {"answer": value, "damaged": damaged} if damaged else {"answer": value}


def _text(html: str) -> str:
    """Return a sentence of a page as plain text, its exponents after a ^."""
    soup = BeautifulSoup(html, "html.parser")
    for power in soup.find_all("sup"):
        power.insert_before("^")
    return " ".join(soup.get_text().split())
