"""Who may read the page: a browser on this machine that knows its address, and nobody through another site's page."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from starlette.responses import PlainTextResponse

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

METHODS = ("GET", "HEAD")


def new_token() -> str:
    """Return an address that cannot be guessed: 256 random bits."""
    return secrets.token_urlsafe(32)


class Guard:
    """Passes requests for ``/TOKEN/…`` on as ``/…`` (ASGI), and refuses all others before anything is looked up.

    ``hosts`` are the accepted values of the header Host. ``policy`` is the content security policy of every answer.
    """

    def __init__(self, inner: Application, token: str, hosts: Iterable[str], policy: str) -> None:
        self._inner, self._token = inner, token.encode()
        self._hosts = frozenset(hosts)
        self._headers = [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"x-frame-options", b"DENY"),
            (b"referrer-policy", b"no-referrer"),  # the address has the token
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cache-control", b"no-store"),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse one request."""

        async def with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *self._headers]
            await send(message)

        if scope["type"] != "http":
            return  # a web socket is closed, and there is nothing to start or to end
        refused, inner = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, with_headers)
        else:
            await self._inner({**scope, "path": inner, "raw_path": inner.encode()}, receive, with_headers)

    def _refused(self, scope: Scope) -> tuple[PlainTextResponse | None, str]:
        """Return the answer to a request that is refused, or None and the path without the token."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        hosts = [value.decode("latin-1").lower() for value in headers.get(b"host", [])]
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return _answer(403, "this page is only for this machine: its address has the host 127.0.0.1"), ""
        origins = {value.decode("latin-1").lower() for value in headers.get(b"origin", [])}
        if not origins <= {f"http://{host}" for host in self._hosts}:
            return _answer(403, "a page of another site asked for this one"), ""
        if scope["method"] not in METHODS:
            return _answer(405, "this page is read-only", {"allow": ", ".join(METHODS)}), ""
        given, slash, rest = scope["path"].lstrip("/").partition("/")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), self._token) or not slash:
            return _answer(403, "wrong or missing token: open the address that `sweeplaw serve` printed"), ""
        return None, f"/{rest}"


def _answer(status: int, sentence: str, headers: dict[str, str] | None = None) -> PlainTextResponse:
    return PlainTextResponse(f"{sentence}\n", status, headers)
