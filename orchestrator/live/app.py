"""The page as an ASGI application: the store at one address, its changes as events, and a page for each trial."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from sweeplaw.orchestrator.live.figures import Figures, figures
from sweeplaw.orchestrator.live.followed import FollowedStore
from sweeplaw.orchestrator.live.guard import Application, Guard
from sweeplaw.orchestrator.live.overview import Observer, Overview
from sweeplaw.orchestrator.live.pacing import Paced
from sweeplaw.orchestrator.live.pieces import Pieces, environment, pieces
from sweeplaw.orchestrator.live.trial_page import trial_page
from sweeplaw.orchestrator.live.trial_table import Asked
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError

SECONDS = 1.0  # between two looks at least
SHARE = 0.02  # of the time that looking may take, and drawing the figures
ALIVE_SECONDS = 15.0  # between two signs of life on a connection without changes


class LiveStore:
    """The store as all connections see it: looked at while a connection is open, and not more often than its cost
    allows.
    """

    def __init__(self, uri: str) -> None:
        """Open the store. Raise InputError if there is none."""
        self.uri = uri
        self._observer = Observer(FollowedStore(uri))
        self._lock = threading.Lock()
        self._look: Paced[Overview] = Paced(SHARE, least=SECONDS)
        self._figures: Paced[Figures | None] = Paced(SHARE)
        self._pieces: tuple[object, Pieces] | None = None
        self._fault: InputError | OSError | None = None  # of the latest look
        self.closing: Callable[[], bool] = lambda: False  # whether the server ends, and with it all connections
        self.templates = environment()
        self.style = self.templates.get_template("live_style.html.j2").render()
        self.script = self.templates.get_template("live_script.html.j2").render()

    def overview(self) -> Overview:
        """Return the store as it was at most `SECONDS` ago, or longer if a look is slow.

        Raise InputError or OSError if the latest look failed: to whoever asks, not only to whom it was made for.
        """
        with self._lock:
            latest = self._look.result
            if latest is None or self._look.due(object()):
                self._fault = None
                try:
                    latest = self._look.do(None, self._observer.look)
                except (InputError, OSError) as error:
                    self._fault = error
            if self._fault is not None:
                raise self._fault.with_traceback(None)
            assert latest is not None
            return latest

    def pieces(self, asked: Asked) -> Pieces:
        """Return the pieces of the page for what is asked; those of the latest question are kept.

        Raise InputError, also once the server ends: whoever waits then is not answered.
        """
        found = self.overview()
        key = (self._state(found), asked)
        with self._lock:
            if self.closing():
                raise InputError("the server has ended")
            if self._pieces is None or self._pieces[0] != key:
                note = self._figures.problem or found.why_not
                made = pieces(self.templates, found, self._figures.result, note, asked)
                self._pieces = key, made
            shown = self._pieces[1]
        self._draw(found)
        return shown

    def state(self) -> object:
        """Return what differs once any of the pieces may, whatever is asked. Raise InputError, OSError."""
        found = self.overview()
        self._draw(found)
        return self._state(found)

    def _state(self, found: Overview) -> object:
        return found.number, id(self._figures.result), self._figures.problem

    def _draw(self, found: Overview) -> None:
        """Begin to draw the figures if they are due."""
        if found.cells is not None:
            basis = (found.ended, found.cells.complete.rows())
            self._figures.start(basis, lambda: figures(found))

    def page(self, asked: Asked) -> str:
        """Return the whole page."""
        found = self.pieces(asked)
        return self.templates.get_template("live.html.j2").render(
            title=self.overview().name, pieces=found.html, digests=found.digests(), asked=asked,
            style=self.style, script=self.script,
        )  # fmt: skip

    def trial(self, prefix: str) -> str:
        """Return the page of a trial. Raise InputError."""
        template = self.templates.get_template("trial.html.j2")
        return template.render(style=self.style, script=self.script, **trial_page(Store.open(self.uri), prefix))

    @property
    def policy(self) -> str:
        """The content security policy: our own style and script, and nothing from elsewhere."""
        style, script = (_sha256(_inside(text)) for text in (self.style, self.script))
        return (
            f"default-src 'none'; style-src-elem '{style}'; style-src-attr 'unsafe-inline'; script-src '{script}'; "
            "connect-src 'self'; img-src data:; font-src data:; form-action 'self'; base-uri 'none'; "
            "frame-ancestors 'none'"
        )


def application(live: LiveStore, token: str, port: int) -> Application:
    """Return the page of a store, served on this port, for those who know the token."""

    async def page(request: Request) -> Response:
        try:
            return HTMLResponse(await run_in_threadpool(live.page, Asked.of(request.query_params)))
        except (InputError, OSError) as error:
            return PlainTextResponse(f"{error}\n", 503)

    async def trial(request: Request) -> Response:
        try:
            return HTMLResponse(await run_in_threadpool(live.trial, request.path_params["trial_id"]))
        except InputError as error:
            return PlainTextResponse(f"{error}\n", 404)
        except OSError as error:
            return PlainTextResponse(f"{error}\n", 503)

    async def events(request: Request) -> Response:
        known = dict(pair.split(":", 1) for pair in request.query_params.get("known", "").split(",") if ":" in pair)
        asked = Asked.of(request.query_params)
        return StreamingResponse(_changes(live, asked, known), media_type="text/event-stream")

    routes = [Route("/", page), Route("/events", events), Route("/trial/{trial_id}", trial)]
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
    inner = Starlette(routes=routes)
    inner.router.redirect_slashes = False  # it does not know the token, which the new address would lack
    return Guard(inner, token, hosts, live.policy)


async def _changes(live: LiveStore, asked: Asked, known: Mapping[str, str]) -> AsyncIterator[str]:
    """Yield the changed pieces as server-sent events, until the reader leaves or the server ends."""
    seen, quiet, faulty = dict(known), 0.0, False
    shown: object = None
    while not live.closing():
        try:
            state = await run_in_threadpool(live.state)
            found = await run_in_threadpool(live.pieces, asked) if faulty or state != shown else None
        except (InputError, OSError) as error:
            if live.closing():
                return
            yield _event("fault", {"sentence": error.sentence() if isinstance(error, InputError) else str(error)})
            faulty = True
            await asyncio.sleep(SECONDS)
            continue
        changed, shown = found.changed(seen) if found else {}, state
        if found and (changed or faulty or set(found.html) != set(seen)):
            yield _event("pieces", {"changed": changed, "places": list(found.html)})
            seen, quiet, faulty = found.digests(), 0.0, False
        elif quiet >= ALIVE_SECONDS:
            yield ":\n\n"
            quiet = 0.0
        await asyncio.sleep(SECONDS)
        quiet += SECONDS


def _event(name: str, content: Mapping[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


def _inside(element: str) -> str:
    """Return the text of an element, which its hash in a policy is of."""
    return element[element.index(">") + 1 : element.rindex("<")]


def _sha256(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
