"""The served page: only for who knows its address, read-only, whatever names and messages hold, and of any store."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette", reason="the extra `serve` is not installed")

from starlette.testclient import TestClient

from sweeplaw.orchestrator.live import app
from sweeplaw.orchestrator.live.app import LiveStore, application
from sweeplaw.orchestrator.live.pieces import Pieces, pieces
from sweeplaw.orchestrator.live.trial_table import Asked
from sweeplaw.orchestrator.store.store import Store
from sweeplaw.trials.errors import InputError
from tests.conftest import make_points, make_record
from tests.orchestrator.live.stores import SWEEP, launched

pytestmark = pytest.mark.heavy

TOKEN, PORT = "a-token", 8765
HOSTILE = "<script>document.title = 'taken'</script>\"'&"
SMALL = SWEEP.replace("num = 4", "num = 2")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of 72 surrogate trials, of a sweep with a hostile name, and a failed trial with a hostile message."""
    path = tmp_path_factory.mktemp("page") / "s"
    store = launched(path, SMALL)
    store.add_launch("99990101T000000-more", {"sweep": "<script>x</script>"})
    with store.writer("99990101T000000-more") as writer:
        failed = make_record(3, state="failed", loss=None, launch="99990101T000000-more")
        object.__setattr__(failed.outcome, "message", HOSTILE)
        writer.write([failed], make_points(failed))
    return path


@pytest.fixture(scope="module")
def live(place: Path) -> LiveStore:
    made = LiveStore(str(place))
    made.page(Asked())
    made._figures.wait(120)
    return made


@pytest.fixture(scope="module")
def client(live: LiveStore) -> TestClient:
    return TestClient(application(live, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")


def test_only_who_knows_the_token_gets_anything(client: TestClient) -> None:
    for path in ("/", "", "/wrong/", f"/{TOKEN[:-1]}/", f"/{TOKEN}x/", "/events", "/é/", f"/x/{TOKEN}/", f"/{TOKEN}"):
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert "token" in answer.text
    assert client.get(f"/{TOKEN}/").status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1", "127.0.0.1:1", "", "127.0.0.1:8765."]
)
def test_a_foreign_host_is_refused_even_with_the_token(client: TestClient, host: str) -> None:
    answer = client.get(f"/{TOKEN}/", headers={"host": host})
    assert (answer.status_code, "this machine" in answer.text) == (403, True)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://evil.example", 403),
        ("null", 403),
        (f"https://127.0.0.1:{PORT}", 403),
        (f"http://localhost:{PORT}", 200),
    ],
)
def test_a_foreign_origin_is_refused_even_with_the_token(client: TestClient, origin: str, status: int) -> None:
    assert client.get(f"/{TOKEN}/", headers={"origin": origin}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_nothing_but_reading_is_a_method(client: TestClient, method: str) -> None:
    answer = client.request(method, f"/{TOKEN}/")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_no_request_changes_the_store(client: TestClient, place: Path, live: LiveStore) -> None:
    def files() -> dict[str, tuple[int, int]]:
        found = (path for path in place.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}

    before = files()
    trial = live.overview().rows["trial_id"][0]
    for path in ("", "?where=lr<1", "?where=nonsense(", "?page=2&sort=-lr", f"trial/{trial}", "trial/none", "nothing"):
        client.get(f"/{TOKEN}/{path}")
    assert files() == before


def test_headers_allow_our_own_style_and_script_and_nothing_else(client: TestClient) -> None:
    answer = client.get(f"/{TOKEN}/")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"script-src ([^;]*)", policy) == re.findall(r"script-src ('sha256-[^']+')", policy)
    assert "'unsafe-inline'" not in policy.replace("style-src-attr 'unsafe-inline'", "")
    assert "frame-ancestors 'none'" in policy
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/").headers["content-security-policy"] == policy
    assert not re.search(r"""(?:src|href|action|url)\s*[=(]\s*["']?(?:https?:|//)""", answer.text)


def test_names_messages_and_questions_are_text(client: TestClient, live: LiveStore) -> None:
    failed = live.overview().rows.filter(state="failed")["trial_id"][0]
    for path in ("", f"?where={HOSTILE}", f"?sort={HOSTILE}", f"trial/{failed}"):
        text = client.get(f"/{TOKEN}/{path}").text
        assert text.count("<script") == 1, f"our own at {path}"
        assert "document.title = &#39;taken&#39;" in text or "?sort" in path
    assert "&lt;script&gt;x&lt;/script&gt;" in client.get(f"/{TOKEN}/").text


def test_the_page_has_counts_map_law_figures_failures_and_trials(client: TestClient) -> None:
    text = client.get(f"/{TOKEN}/").text
    assert "<b>73</b> of 73 ended" in text
    assert '<figure id="map"' in text
    assert "The law so far" in text
    assert text.count('<svg class="ch"') >= 6
    assert "1</b><span>&lt;script&gt;" in text
    assert "Page 1 of 2" in text


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("state = 'completed'", "72 trials match"),
        ("tokens < 2e9 AND N < 2e7", "13 trials match"),
        ("flops_per_token IS NOT NULL", "72 trials match"),
        ("no_column = 1", "no_column"),
        ("lr", "is not boolean"),
        ("1 = ", "unable to parse"),
    ],
)
def test_a_condition_narrows_the_table_or_says_what_is_wrong(live: LiveStore, where: str, told: str) -> None:
    assert told in live.pieces(Asked(where=where)).html["match_count"]


def test_pages_and_orders_are_addresses(live: LiveStore) -> None:
    def losses(asked: Asked) -> list[str]:
        body = live.pieces(asked).html["table"].partition("<tbody>")[2]
        cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>.*?</tr>", body)]
        return [row[5] for row in cells]

    first, second = losses(Asked()), losses(Asked(page=2))
    assert (len(first), len(second)) == (40, 33)
    assert [*first, *second] == sorted([*first, *second]), "the unknown loss is last"
    assert losses(Asked(sort="-val_loss"))[0] == second[-2]
    assert losses(Asked(page=99)) == second
    assert Asked.of({"page": "x", "where": " lr < 1 "}) == Asked("lr < 1")
    assert Asked("lr < 1", "-lr", 3).address(page=4) == "?where=lr+%3C+1&sort=-lr&page=4"


def test_marks_of_the_reports_figures_have_no_class_of_the_map(live: LiveStore) -> None:
    assert live.templates.loader is not None
    style = live.templates.loader.get_source(live.templates, "live_style.html.j2")[0]
    of_the_map = set(re.findall(r"\.ch \.(\w+)", style))
    assert {"run", "wait"} <= of_the_map
    figures = "".join(html for place, html in live.pieces(Asked()).html.items() if place.startswith("f-"))
    marks = re.findall(r'<(?:rect|circle|path)[^>]* class="([^"]*)"', figures)
    assert {"r-completed", "r-lost"} <= {css for mark in marks for css in mark.split()}
    assert not [mark for mark in marks if of_the_map & set(mark.split())]


def test_a_trial_has_its_knobs_curve_and_attempts(client: TestClient, live: LiveStore) -> None:
    trial = live.overview().rows.filter(state="completed")["trial_id"][0]
    text = client.get(f"/{TOKEN}/trial/{trial[:10]}").text
    assert "<dt>lr</dt>" in text
    assert "The curve ends at " in text
    assert client.get(f"/{TOKEN}/trial/zzzz").status_code == 404


def test_events_carry_what_changed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SECONDS", 0.01)
    monkeypatch.setattr(app, "SHARE", 1.0)
    store = launched(tmp_path / "s", SMALL)
    live = LiveStore(store.location.uri)
    live.pieces(Asked())
    live._figures.wait(120)
    known = live.pieces(Asked()).digests()

    async def first_event() -> dict[str, object]:
        events = app._changes(live, Asked(), known)
        with store.writer("99990101T000000-more") as writer:
            writer.write([make_record(3, state="diverged", loss=None, launch="99990101T000000-more")])
        text = await asyncio.wait_for(anext(events), 60)
        assert text.startswith("event: pieces\ndata: ")
        assert text.endswith("\n\n")
        found: dict[str, object] = json.loads(text.split("data: ", 1)[1])
        return found

    event = asyncio.run(first_event())
    assert set(event["changed"]) == {"strip", "match_count", "map", "running", "failures"}  # type: ignore[call-overload]
    assert event["places"] == list(known)


def test_a_connection_computes_nothing_while_nothing_changes_and_waits_for_nothing_at_the_end(
    live: LiveStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "SECONDS", 0.01)
    monkeypatch.setattr(app, "ALIVE_SECONDS", 0.05)
    made: list[str] = []

    def counted(*words: Any) -> Pieces:
        made.append(words[-1].where)
        return pieces(*words)

    monkeypatch.setattr(app, "pieces", counted)

    async def three_signs_of_life_of_two_questions() -> None:
        for where in ("lr > 0", "lr > 1"):
            events = app._changes(live, Asked(where), {})
            assert (await asyncio.wait_for(anext(events), 60)).startswith("event: pieces")
            for _ in range(3):
                assert await asyncio.wait_for(anext(events), 60) == ":\n\n"
            await events.aclose()  # type: ignore[attr-defined]

    asyncio.run(three_signs_of_life_of_two_questions())
    assert made == ["lr > 0", "lr > 1"]
    monkeypatch.setattr(live, "closing", lambda: True)
    with pytest.raises(InputError, match="the server has ended"):
        live.pieces(Asked("lr > 2"))
    assert made == ["lr > 0", "lr > 1"]


def test_an_empty_store_says_so_and_damage_is_named(store: Store) -> None:
    live = LiveStore(store.location.uri)
    assert "No trial has completed yet" in live.page(Asked())
    for number in range(2):
        with store.writer(f"launch{number}") as writer:
            writer.write([make_record(number)])
    name = store.location.names("trials", ".parquet")[0]
    with open(store.location.path(f"trials/{name}.parquet"), "r+b") as file:
        file.seek(40)
        file.write(b"\xff" * 8)
    text = LiveStore(store.location.uri).page(Asked())
    assert "Damaged: " in text
    assert name in text


def test_a_store_that_is_gone_is_a_fault_until_it_is_back(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "SECONDS", 0.01)
    monkeypatch.setattr(app, "SHARE", 1.0)
    live = LiveStore(store.location.uri)
    client = TestClient(application(live, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")
    known = live.pieces(Asked()).digests()
    place = Path(store.location.root)

    async def events() -> tuple[str, int, str]:
        coming = app._changes(live, Asked(), known)
        away = place.rename(place.with_name("away"))
        fault = await asyncio.wait_for(anext(coming), 60)
        while (status := client.get(f"/{TOKEN}/").status_code) == 200:  # what was seen a moment ago
            pass
        away.rename(place)
        while (back := await asyncio.wait_for(anext(coming), 60)).startswith("event: fault"):
            pass
        return fault, status, back

    fault, status, back = asyncio.run(events())
    assert fault.startswith("event: fault")
    assert "is not a sweeplaw store" in fault
    assert status == 503
    assert back.startswith("event: pieces")  # which takes the sentence from the page
    assert client.get(f"/{TOKEN}/").status_code == 200


def test_everyone_who_looks_at_a_store_that_is_gone_is_told(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    live = LiveStore(store.location.uri)
    client = TestClient(application(live, TOKEN, PORT), base_url=f"http://127.0.0.1:{PORT}")
    known = live.pieces(Asked()).digests()
    place = Path(store.location.root)
    place.rename(place.with_name("away"))
    looks = iter([True])
    monkeypatch.setattr(live._look, "due", lambda _: next(looks, False))  # one look for all who ask

    async def events() -> list[str]:
        return [await asyncio.wait_for(anext(app._changes(live, Asked(), known)), 60) for _ in range(3)]

    for event in asyncio.run(events()):
        assert event.startswith("event: fault")
    assert client.get(f"/{TOKEN}/").status_code == 503


def test_an_address_with_one_slash_too_many_leads_nowhere_without_the_token(client: TestClient) -> None:
    answer = client.get(f"/{TOKEN}/events/", follow_redirects=False)
    assert (answer.status_code, "location" in answer.headers) == (404, False)
