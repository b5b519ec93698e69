"""The sandbox's page by HTTP: what it tells, what it hides, whom it serves and what it changes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from importlib import resources
from typing import TYPE_CHECKING, Any

import attrs
import click
import pytest
from aiohttp import ClientError, ClientSession
from click.testing import CliRunner

from asking import CASE, CASE_PAYMENT, CONFIRMATION, GOOD, METHOD_UPDATE, PATH, Asker, head
from asking import until as until_true
from calls import ONCE
from canaries import (
    CREDENTIALS,
    DESCRIPTION,
    DIGITS,
    EMAIL,
    INTENT_SECRET,
    KEY,
    OWNER,
    PHONE,
    PLANTED,
    PROXY_PASSWORD,
    REQUESTS,
    SETUP,
    STREET,
    TOKEN,
    VENDORS,
    Seen,
)
from carevalidate_async import CareValidateError, Outcome, cli
from carevalidate_async._commands import output
from carevalidate_async._commands import sandbox as command
from carevalidate_async.sandbox import Fault, Sandbox, _feed
from carevalidate_async.sandbox import _page as page
from carevalidate_async.sandbox._exchanges import Exchanges, ReceivedRequest
from carevalidate_async.sandbox._mask import HIDDEN, Mask
from carevalidate_async.sandbox._view import money, told

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

FOLDER = resources.files("carevalidate_async.sandbox").joinpath("page")
JSON = {"Content-Type": "application/json"}
READS = ("/_sandbox/feed", "/_sandbox/records", "/_sandbox/requests/1", "/_sandbox/page.js")
FOREIGN: list[dict[str, str]] = [
    {"Host": "evil.example"},
    {"Host": "127.0.0.1.evil.example"},
    {"Host": "evil.example:127.0.0.1"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Origin": "https://127.0.0.1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]
CONFLICT = '{"status": 409, "success": false, "code": "IDEMPOTENCY_ERROR"}'
KEYED = {**CONFIRMATION, "idempotencyKey": "key-1"}


@attrs.define
class Browser:
    """What a browser does on the page, without one."""

    http: ClientSession
    sandbox: Sandbox

    async def get(self, name: str, **headers: str) -> tuple[int, Any]:
        async with self.http.get(f"{self.sandbox.url}/_sandbox/{name}", headers=headers) as said:
            return said.status, await said.json()

    async def post(self, name: str, fields: object, **headers: str) -> tuple[int, Any]:
        url, data = f"{self.sandbox.url}/_sandbox/{name}", json.dumps(fields)
        async with self.http.post(url, data=data, headers={**JSON, **headers}) as said:
            return said.status, await said.json()

    async def events(self, mark: str = "") -> AsyncGenerator[tuple[str, Any, str], None]:
        """Give the feed's events: name, data, and the id to go on from."""
        url, headers = f"{self.sandbox.url}/_sandbox/feed", {"Last-Event-ID": mark}
        async with self.http.get(url, headers=headers if mark else {}) as said:
            assert "text/event-stream" == said.headers["Content-Type"]
            while line := await said.content.readuntil(b"\n\n"):
                fields = dict(one.split(": ", 1) for one in line.decode().strip().split("\n"))
                if "event" in fields:
                    yield fields["event"], json.loads(fields["data"]), fields.get("id", "")

    async def batch(self, mark: str = "") -> tuple[dict[str, Any], str]:
        """Return the first batch of the feed, and its id."""
        async for name, data, at in self.events(mark):
            if name == "batch":
                return data, at
        raise AssertionError

    async def detail(self, number: int) -> dict[str, Any]:
        status, fields = await self.get(f"requests/{number}")
        assert 200 == status
        found: dict[str, Any] = fields
        return found


@pytest.fixture
def browser(plain_http: ClientSession, sandbox: Sandbox) -> Browser:
    return Browser(plain_http, sandbox)


async def attempt(asker: Asker, operation: str, body: object = None) -> None:
    """Ask, whatever comes of it."""
    with contextlib.suppress(ClientError, TimeoutError):
        await asker.ask(operation, body)


class TestFiles:
    async def test_page(self, browser: Browser) -> None:
        """The page is at the sandbox's URL, and to ask for it is no request that arrived."""
        async with browser.http.get(browser.sandbox.url) as said:
            text = await said.text()

        assert 200 == said.status
        assert "<title>Sandbox</title>" in text
        assert 0 == browser.sandbox.received
        assert [] == browser.sandbox.requests

    async def test_every_file_is_served(self, browser: Browser) -> None:
        """Each file that the page or another of its files names is there, and no other."""
        files = {entry.name: entry.read_text("utf-8") for entry in FOLDER.iterdir()}
        names = r"[./]([a-z]+\.(?:js|css))\""
        named = {name for text in files.values() for name in re.findall(names, text)}

        assert files.keys() - {"page.html"} == named
        for name in named:
            async with browser.http.get(f"{browser.sandbox.url}/_sandbox/{name}") as said:
                assert files[name] == await said.text()
                assert "nosniff" == said.headers["X-Content-Type-Options"]

    def test_nothing_from_elsewhere(self) -> None:
        """No file loads anything from another place, makes markup of text, or has inline code."""
        for entry in FOLDER.iterdir():
            text = entry.read_text("utf-8")

            assert not re.search(r"https?://(?!\$)|//cdn|@import|url\(", text), entry.name
            assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text)
            assert not re.search(r"<style|<script>|\son[a-z]+=\"|\sstyle=", text)

    async def test_policy(self, browser: Browser) -> None:
        """The page may load what is its own, and may not be framed."""
        async with browser.http.get(browser.sandbox.url) as said:
            policy = said.headers["Content-Security-Policy"].split("; ")

        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy)
        assert {"frame-ancestors 'none'", "base-uri 'none'", "form-action 'none'"} <= set(policy)
        assert not any("unsafe" in rule for rule in policy)

    async def test_without(self, plain_http: ClientSession) -> None:
        """A sandbox without a page serves none, and what asks for it arrived at a vendor."""
        async with Sandbox(page=False) as sandbox:
            for path in ("/", "/_sandbox/feed"):
                async with plain_http.get(sandbox.url + path) as said:
                    assert 404 == said.status

            assert 2 == sandbox.received

    async def test_what_there_is_not(self, browser: Browser) -> None:
        """What the page does not have is not found, and the wrong method is told."""
        for name in ("nothing", "requests/x", "requests/1", "../_server.py", "page.html"):
            assert 404 == (await browser.get(name))[0]
        assert 404 == (await browser.post("nothing", {}))[0]
        assert 404 == (await browser.post("feed", {}))[0]
        url = f"{browser.sandbox.url}/_sandbox/reset"
        async with browser.http.put(url, headers=JSON) as said:
            assert 405 == said.status

    def test_words_are_those_of_the_faults(self) -> None:
        """What the page says of each fault is what its documentation says."""
        rows = re.findall(r"^ *\| `(\w+)` \| (.*?) \| (yes|no)", Fault.__doc__ or "", re.MULTILINE)

        assert 12 == len(rows)
        assert page.SEEN == {name: seen.replace("`", "") for name, seen, _ in rows}


class TestGuard:
    @pytest.mark.parametrize("headers", FOREIGN, ids=str)
    async def test_reads(self, browser: Browser, asker: Asker, headers: dict[str, str]) -> None:
        """Nothing is told to another site, nor to a foreign name that leads here."""
        await asker.ask("confirm_payment")
        for path in READS:
            async with browser.http.get(browser.sandbox.url + path, headers=headers) as said:
                assert 403 == said.status, path
                assert "Access-Control-Allow-Origin" not in said.headers

    @pytest.mark.parametrize("headers", FOREIGN, ids=str)
    async def test_controls(self, browser: Browser, headers: dict[str, str]) -> None:
        """Nothing is changed for another site, nor for a foreign name."""
        browser.sandbox.script(Fault.REFUSE)
        for name in ("reset", "script/clear"):
            assert 403 == (await browser.post(name, {}, **headers))[0]

        assert (Fault.REFUSE,) == browser.sandbox.script_left

    @pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", ""])
    async def test_simple_requests(self, browser: Browser, kind: str) -> None:
        """What a form of another page can send, which no browser asks leave for, does nothing."""
        browser.sandbox.script(Fault.REFUSE)
        url = f"{browser.sandbox.url}/_sandbox/reset"
        async with browser.http.post(url, data=b"{}", headers={"Content-Type": kind}) as said:
            assert 415 == said.status

        assert (Fault.REFUSE,) == browser.sandbox.script_left

    async def test_no_leave_is_given(self, browser: Browser) -> None:
        """A browser that asks whether another site may send JSON hears no yes."""
        headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
        url = f"{browser.sandbox.url}/_sandbox/reset"
        async with browser.http.options(url, headers=headers) as said:
            assert 403 == said.status
            assert not [name for name in said.headers if name.startswith("Access-Control")]

    @pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:8080", "localhost", "[::1]:9"])
    async def test_own(self, browser: Browser, host: str) -> None:
        """This machine's names, with the page's own origin, are served."""
        headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}

        assert 200 == (await browser.get("records", **headers))[0]
        assert 200 == (await browser.post("script/clear", {}, **headers))[0]

    async def test_links(self, browser: Browser) -> None:
        """The page itself can be linked to, but not by a foreign name."""
        url = browser.sandbox.url
        async with browser.http.get(url, headers={"Sec-Fetch-Site": "cross-site"}) as said:
            assert 200 == said.status
        async with browser.http.get(url, headers={"Host": "evil.example"}) as said:
            assert 403 == said.status

    async def test_vendors_are_not_guarded(self, browser: Browser) -> None:
        """The operations are served to whoever asks, as before."""
        headers = {**JSON, **FOREIGN[0], **FOREIGN[3], **FOREIGN[6], "cv-api-key": "test"}
        data = json.dumps(CONFIRMATION)
        async with browser.http.post(
            browser.sandbox.url + PATH, data=data, headers=headers
        ) as said:
            assert 200 == said.status

        assert 1 == len(browser.sandbox.payments)


def exchange(number: int, *, ended: bool = True) -> ReceivedRequest:
    """Return a request that asks for something the sandbox does not have."""
    return ReceivedRequest(
        number=number,
        operation=None,
        method="GET",
        path="/x",
        headers={},
        seconds=0.1 if ended else None,
        ending="answered" if ended else None,
    )


def exchanges(number: int, **options: Any) -> Exchanges:
    """Return what keeps so many requests."""
    found = Exchanges(**{"most": None, "most_bytes": None, **options})
    for _ in range(number):
        found.add(exchange(found.received + 1))
    return found


def watcher(kept: Exchanges, mark: str | None = None) -> _feed.Watcher:
    return _feed.Watcher(kept, b"salt", "life", mark)


def numbers(batch: _feed.Batch | None) -> list[int]:
    assert batch is not None
    return [row["number"] for row in batch.rows]


class TestWatcher:
    def test_each_once(self) -> None:
        """A request that ended before it was told is told once, and silence is nothing."""
        kept = exchanges(2)
        one = watcher(kept)

        assert [1, 2] == numbers(one.take())
        assert None is one.take()

        kept.add(exchange(3))

        assert [3] == numbers(one.take())

    def test_again_when_it_ends(self) -> None:
        """A request that is told while it goes on is told again when it has ended."""
        kept = exchanges(1)
        kept.add(slow := exchange(2, ended=False))
        kept.add(exchange(3))
        one = watcher(kept)
        first = one.take()
        slow.seconds, slow.ending = 9.0, "reset"
        again = one.take()

        assert [1, 2, 3] == numbers(first)
        assert [2] == numbers(again)
        assert "life-0-1" == (first and first.mark)
        assert "life-0-3" == (again and again.mark)

    def test_resume(self) -> None:
        """Who lost the connection goes on after what had ended by then."""
        kept = exchanges(3)
        kept.add(exchange(4, ended=False))
        first = watcher(kept).take()
        assert first is not None
        batch = watcher(kept, first.mark).take()

        assert [4] == numbers(batch)
        assert batch is not None
        assert not batch.fresh

    @pytest.mark.parametrize(
        "mark",
        ["other-0-2", "life-1-2", "life-0-9", "life-0", "", "life-x-y", f"life-0-{'9' * 40}"],
    )
    def test_another_life(self, mark: str) -> None:
        """A mark that is not of this sandbox's present begins anew."""
        batch = watcher(exchanges(3), mark).take()

        assert [1, 2, 3] == numbers(batch)
        assert batch is not None
        assert batch.fresh

    def test_reset(self) -> None:
        """After a reset all that was told is void, and numbers begin again."""
        kept = exchanges(3)
        one = watcher(kept)
        one.take()
        kept.clear()
        emptied = one.take()
        kept.add(exchange(1))

        assert [] == numbers(emptied)
        assert emptied is not None
        assert emptied.fresh
        assert [1] == numbers(one.take())

    def test_batches_are_bounded(self) -> None:
        """Many at once come in batches, in order and without a gap."""
        one = watcher(exchanges(1234))
        found = [numbers(one.take()) for _ in range(3)]

        assert [_feed.BATCH, _feed.BATCH, 1234 - 2 * _feed.BATCH] == [len(part) for part in found]
        assert list(range(1, 1235)) == list(itertools.chain(*found))
        assert None is one.take()

    def test_what_is_forgotten_is_counted(self) -> None:
        """Told and skipped together are all that arrived, however slow the watcher is."""
        kept = exchanges(10, most=10)
        one = watcher(kept)
        batches = [one.take()]
        for _ in range(25):
            kept.add(exchange(kept.received + 1))
        batches.append(one.take())
        for _ in range(5):
            kept.add(exchange(kept.received + 1))
        batches.append(one.take())

        assert [10, 10, 5] == [len(numbers(batch)) for batch in batches]
        assert [0, 15, 0] == [batch.skipped for batch in batches if batch]

    def test_a_backlog_is_bounded(self) -> None:
        """Who is further behind than a page can hold skips what is older."""
        kept = exchanges(_feed.BACKLOG + 300)
        batch = watcher(kept).take()

        assert batch is not None
        assert 300 == batch.skipped
        assert 301 == numbers(batch)[0]

    def test_nothing_is_kept(self) -> None:
        """Where nothing is kept, all is counted as skipped."""
        batch = watcher(exchanges(7, most=0)).take()

        assert [] == numbers(batch)
        assert batch is not None
        assert 7 == batch.skipped


class TestFeed:
    async def test_live(self, browser: Browser, asker: Asker) -> None:
        """What there is to know comes first, then each request as it arrives and ends."""
        events = browser.events()
        found = [await anext(events) for _ in range(3)]
        await asker.ask("confirm_payment", KEYED)
        (_, data, mark), (_, state, _) = [await anext(events) for _ in range(2)]
        await events.aclose()

        assert ["about", "batch", "state"] == [name for name, _, _ in found]
        assert list(GOOD) == found[0][1]["operations"]
        assert {"rows": [], "skipped": 0, "received": 0, "fresh": True} == found[1][1]
        (row,) = data["rows"]
        assert mark.endswith("-0-1")
        assert (1, "confirm_payment", 200, "recorded") == tuple(
            row[name] for name in ("number", "operation", "status", "money")
        )
        assert ("key-1", False) == (row["key_text"], row["wrong"])
        assert 1 == state["recorded"]["payments"]

    async def test_resumes(self, browser: Browser, asker: Asker) -> None:
        """With the id of the last event, what was told is not told again."""
        for _ in range(3):
            await asker.ask("confirm_payment")
        first, mark = await browser.batch()
        await asker.ask("confirm_payment")
        second, _ = await browser.batch(mark)

        assert [1, 2, 3] == [row["number"] for row in first["rows"]]
        assert [4] == [row["number"] for row in second["rows"]]
        assert not second["fresh"]

    async def test_heartbeat(self, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
        """A feed with nothing to tell says so now and then."""
        monkeypatch.setattr(_feed, "HEARTBEAT", 0.0)
        events = browser.events()
        found = [await anext(events) for _ in range(5)]
        await events.aclose()

        assert ["about", "batch", "state", "beat", "beat"] == [name for name, _, _ in found]

    async def test_costs_nothing_unwatched(self, browser: Browser) -> None:
        """When the last watcher has left, nothing of it goes on; nor does a close wait for one."""
        before = asyncio.all_tasks()
        await browser.batch()
        await until_true(lambda: asyncio.all_tasks() == before)
        events = browser.events()
        await anext(events)
        await browser.sandbox.aclose()
        with pytest.raises((ClientError, asyncio.IncompleteReadError)):
            [one async for one in events]

    async def test_a_slow_watcher(self) -> None:
        """A watcher that does not read is sent nothing more, and told later what it missed."""
        kept = exchanges(10, most=10)
        written: list[bytes] = []
        room = asyncio.Event()

        async def write(data: bytes) -> None:
            written.append(data)
            if b'"rows":[{' in data:
                await room.wait()

        task = asyncio.create_task(_feed.watch(watcher(kept), {}, dict, write))
        await until_true(lambda: len(written) == 2)
        for _ in range(100):
            kept.add(exchange(kept.received + 1))
        await asyncio.sleep(3 * _feed.INTERVAL)
        meanwhile = len(written)
        room.set()
        await until_true(lambda: len(written) == 3)
        task.cancel()
        data = json.loads(written[2].partition(b"data: ")[2].partition(b"\n")[0])

        assert 2 == meanwhile
        assert 90 == data["skipped"]
        assert list(range(101, 111)) == [row["number"] for row in data["rows"]]

    async def test_so_many_watchers(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """More watchers than there is room for are told so, until one leaves."""
        monkeypatch.setattr(page, "MOST_WATCHERS", 1)
        events = browser.events()
        await anext(events)
        status, said = await browser.get("feed")
        await events.aclose()

        assert (503, "1 pages are open already") == (status, said["error"])


class TestMoney:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault.OK,
            *(attrs.evolve(f, seconds=0.0) if f.effect == "hang" else f for f in Fault.EVERY),
            Fault.HTML(status=200, records=True),
            Fault.REFUSE(status=408),
            Fault.REFUSE(status=501, records=True),
            Fault.ERROR_AFTER(status=400),
            Fault.ERROR_AFTER(status=409, body=CONFLICT),
            Fault.HTML(status=200, body='{"success": true}'),
        ],
        ids=repr,
    )
    async def test_the_client_agrees(self, sandbox: Sandbox, fault: Fault) -> None:
        """What the page says that a client can know is what this package's client says."""
        for name, ask in REQUESTS.items():
            secret = "test"
            sandbox.script(fault)
            async with VENDORS[name](secret, base_url=sandbox.url, retry=ONCE) as client:
                try:
                    await ask(client)
                    said = "RECORDED"
                except CareValidateError as error:
                    said = error.outcome.name
            await until_true(lambda: sandbox.requests[-1].seconds is not None)
            seen = sandbox.requests[-1]

            assert Outcome[said] is told(seen), name
            wanted = {
                (True, "RECORDED"): "recorded",
                (True, "UNKNOWN"): "recorded-unseen",
                (True, "REJECTED"): "recorded-denied",
                (False, "RECORDED"): "unrecorded-claimed",
                (False, "UNKNOWN"): "unrecorded-unseen",
                (False, "REJECTED"): "rejected",
            }
            assert wanted[fault.records, said] == money(seen)


class TestDetail:
    async def test_exchange(self, browser: Browser, asker: Asker) -> None:
        """A request and its answer can be read, as they were on the wire."""
        await asker.ask("confirm_payment", {**KEYED, "amount": -1})
        told = await browser.detail(1)

        assert told["request"]["head"].startswith(f"POST {PATH} HTTP/1.1\nHost: 127.0.0.1:")
        assert {**KEYED, "amount": -1} == json.loads(told["request"]["body"])
        assert told["answer"]["head"].startswith("HTTP/1.1 400 Bad Request\nContent-Type: app")
        assert "Amount must not be negative" == json.loads(told["answer"]["body"])["message"]
        assert ("rejected", True, None) == (told["money"], told["wrong"], told["answer"]["cut"])

    async def test_cut(self, browser: Browser, asker: Asker) -> None:
        """Of an answer that was cut off, what was sent is shown, to the byte, but for secrets."""
        for operation in ("confirm_payment", "create_payment_intent"):
            browser.sandbox.script(Fault.TRUNCATE)
            await attempt(asker, operation)
        await until_true(lambda: browser.sandbox.requests[-1].ending)
        plain, secret = [(await browser.detail(number))["answer"] for number in (1, 2)]

        assert '{"status": 200, ' == plain["body"]
        assert (16, 32) == (plain["cut"], plain["bytes"])
        assert secret["body"].endswith('successfully", "data"')

    async def test_cut_in_a_secret(self, browser: Browser, asker: Asker) -> None:
        """A cut within a secret shows none of it."""
        fields = {**METHOD_UPDATE, "payment_method": {"street": "x" * 400}}
        browser.sandbox.script(Fault.TRUNCATE)
        await attempt(asker, "update_payment_method", fields)
        await until_true(lambda: browser.sandbox.requests[-1].ending)
        told = await browser.detail(1)

        assert told["answer"]["body"].endswith('"street": "')

    async def test_reset_after_the_record(self, browser: Browser, asker: Asker) -> None:
        """Where there was no answer there is none, and what was recorded is told."""
        browser.sandbox.script(Fault.DROP_AFTER)
        await attempt(asker, "confirm_payment", KEYED)
        await until_true(lambda: browser.sandbox.requests[-1].seconds is not None)
        told = await browser.detail(1)

        assert None is told["answer"]
        assert ("reset", "DROP_AFTER", "recorded-unseen") == tuple(
            told[name] for name in ("ending", "fault", "money")
        )

    async def test_hung_up(self, browser: Browser) -> None:
        """A client that hangs up first is told from a connection that was reset."""
        browser.sandbox.script(Fault.HANG)
        host, port = browser.sandbox.url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(head())
        await until_true(lambda: browser.sandbox.requests)
        assert None is (await browser.detail(1))["ending"]
        writer.close()
        await until_true(lambda: browser.sandbox.requests[0].seconds is not None)

        assert "gone" == (await browser.detail(1))["ending"]

    @pytest.mark.parametrize("body", [b"<b>no JSON</b>", b"[" * 9000, b'{"a": "' + b"x" * 70_000])
    async def test_not_shown(self, browser: Browser, asker: Asker, body: bytes) -> None:
        """A body that is no JSON, or long, is not shown; its size is."""
        await asker.send("POST", PATH, data=body)
        told = (await browser.detail(1))["request"]

        assert (None, len(body)) == (told["body"], told["bytes"])

    async def test_conflict(self, browser: Browser, asker: Asker) -> None:
        """The vendor's words about a key that is on record are shown."""
        for _ in range(2):
            await asker.ask("confirm_payment", KEYED)
        told = json.loads((await browser.detail(2))["answer"]["body"])

        assert "A record with the provided idempotencyKey already" in told["description"]

    async def test_status_without_a_name(self, browser: Browser, asker: Asker) -> None:
        """A status that has no name is shown by its number."""
        browser.sandbox.script(Fault.REFUSE(status=599))
        await asker.ask("confirm_payment")
        told = await browser.detail(1)

        assert told["answer"]["head"].startswith("HTTP/1.1 599\n")

    async def test_not_kept(self, plain_http: ClientSession) -> None:
        """A request that is not kept any more is not found."""
        async with Sandbox(keep_requests=1) as sandbox:
            for _ in range(2):
                await Asker(plain_http, sandbox).ask("confirm_payment")
            browser = Browser(plain_http, sandbox)

            assert 404 == (await browser.get("requests/1"))[0]
            assert 200 == (await browser.get("requests/2"))[0]

    async def test_records(self, browser: Browser, asker: Asker) -> None:
        """Payments on record are told with their keys, the same for the requests that had them."""
        await asker.ask("confirm_payment", KEYED)
        await asker.ask("confirm_payment", KEYED)
        await asker.ask("create_case_payment", {**CASE_PAYMENT, "idempotencyKey": "key-2"})
        _, told = await browser.get("records")
        batch, _ = await browser.batch()
        keys = [row["key"] for row in batch["rows"]]

        assert 2 == told["total"]
        assert ["case-1", CASE] == [one["case"] for one in told["payments"]]
        assert [keys[0], keys[2]] == [one["key"] for one in told["payments"]]
        assert keys[0] == keys[1] != keys[2]
        assert ["recorded", "replayed", "recorded"] == [row["money"] for row in batch["rows"]]


HOSTILE: list[dict[str, Any]] = [
    {EMAIL: 1, "2025550177": 2},
    {"caseId": EMAIL, "status": PHONE, "decisionId": DIGITS, "idempotencyKey": f"pay {EMAIL}"},
    {"amount": DIGITS, "id": int(DIGITS), "paymentDate": PHONE, "validUntil": [PHONE]},
    {"description": DESCRIPTION, "idempotencyKey": f"{DESCRIPTION}", "caseId": SETUP, "x": SETUP},
    {"data": {"data": {"email": EMAIL}, "list": [[STREET], {"y": TOKEN}]}, "action": STREET},
    {"deep": json.loads("[" * 25 + json.dumps({"caseId": EMAIL, "status": PHONE}) + "]" * 25)},
    {"many": [f"text {number}" for number in range(300)], "caseId": STREET, "status": "PAID"},
    {"card": 4111111111111111, "note": TOKEN, "idempotencyKey": f"k-{TOKEN}-1"},
    {"email": EMAIL, "idempotencyKey": EMAIL.upper(), "status": "x" * 200},
]


class TestMask:
    @pytest.mark.parametrize("fault", [Fault.OK, Fault.TRUNCATE, Fault.DROP_AFTER], ids=repr)
    async def test_operations(self, plain_http: ClientSession, fault: Fault) -> None:
        """Nothing private of any operation, or of its answer, leaves by the page."""
        async with Sandbox(api_key=KEY, token=TOKEN) as sandbox:
            for name, ask in REQUESTS.items():
                sandbox.script(fault)
                credential = CREDENTIALS[name]
                async with VENDORS[name](credential, base_url=sandbox.url, retry=ONCE) as client:
                    try:
                        await ask(client)
                    except CareValidateError:
                        assert fault is not Fault.OK
            await until_true(lambda: sandbox.requests[-1].seconds is not None)

            assert len(REQUESTS) == sandbox.received
            assert [] == (await self.seen(Browser(plain_http, sandbox))).planted()

    @pytest.mark.parametrize("fields", HOSTILE, ids=lambda fields: next(iter(fields)))
    @pytest.mark.parametrize("operation", ["confirm_payment", "update_user_payment"])
    async def test_odd_places(
        self, browser: Browser, asker: Asker, operation: str, fields: dict[str, Any]
    ) -> None:
        """What stands where it does not belong, and what an answer repeats, is hidden as well."""
        body = {**GOOD[operation][2], **fields}
        await asker.ask(operation, body)
        await asker.ask(operation, fields)
        path = f"/api/v1/{EMAIL}/{DIGITS}/{PHONE.replace(' ', '%20')}?email={EMAIL}&{TOKEN}"
        await asker.send("GET", path, key=KEY, content_type=f"text/{TOKEN}")
        headers = {"X-Email": EMAIL, "Cookie": KEY, "Authorization": TOKEN, "User-Agent": PHONE}
        async with browser.http.get(f"{browser.sandbox.url}/x", headers=headers) as said:
            assert 404 == said.status
        seen = await self.seen(browser)

        assert 4 == browser.sandbox.received
        assert [] == [found for found in seen.planted() if found[1] != TOKEN]
        assert [] == [text for _, text in seen.texts if "4111111111" in text]

    async def test_answers(self, browser: Browser, asker: Asker) -> None:
        """An answer's words are shown without the person or the secret that they name."""
        unknown = "john@unknown.example"
        setup = {**GOOD["update_user_payment"][2]["data"], "stripeSetupId": "seti_unknown"}
        for change in ({"email": unknown}, {"data": setup}):
            await asker.ask("update_user_payment", {**GOOD["update_user_payment"][2], **change})
        first, second = [json.loads((await browser.detail(n))["answer"]["body"]) for n in (1, 2)]

        assert "User [hidden] does not exist" == first["error"]
        assert "No such setupintent: '[hidden]'" == second["error"]

    async def test_a_faults_own_body(self, browser: Browser, asker: Asker) -> None:
        """What somebody scripted as an answer's text is nowhere, but for the vendor's fields."""
        secret = {"data": {"paymentIntentSecret": INTENT_SECRET}, "message": INTENT_SECRET}
        browser.sandbox.script(
            Fault.HTML(body=f"<p>{EMAIL} {OWNER} {STREET}</p>"),
            Fault.REFUSE(body=json.dumps(secret)),
            Fault.HTML,
        )
        for _ in range(3):
            await asker.ask("confirm_payment")
        seen = await self.seen(browser)
        bodies = [(await browser.detail(number))["answer"]["body"] for number in (1, 2, 3)]

        assert [] == seen.planted()
        assert None is bodies[0]
        assert {"data": {"paymentIntentSecret": HIDDEN}, "message": HIDDEN} == json.loads(bodies[1])
        assert "<h1>Bad gateway</h1>" in bodies[2]

    @pytest.mark.parametrize(
        "fault",
        [
            Fault.REDIRECT(location=f"https://u:{PROXY_PASSWORD}@x.example/y?e={EMAIL}&t={TOKEN}"),
            Fault.RATE_LIMIT(retry_after=f"{EMAIL} {DIGITS}"),
        ],
        ids=["location", "retry_after"],
    )
    async def test_a_faults_own_headers(self, browser: Browser, asker: Asker, fault: Fault) -> None:
        """Headers that somebody scripted are shown without what could be private, in rows too."""
        browser.sandbox.script(fault, fault)
        await asker.send("POST", PATH, data=b"{}")
        seen = await self.seen(browser)
        seen.add("state", json.dumps((await browser.post("rate-limit", {"rate": None}))[1]))

        assert [] == seen.planted()

    @pytest.mark.parametrize(
        "fields",
        [
            {"idempotencyKey": f"k-{KEY}-1"},
            {"caseId": KEY},
            {"caseId": SETUP, "description": SETUP},
            {"caseId": INTENT_SECRET, "idempotencyKey": INTENT_SECRET},
            {"idempotencyKey": f"k {STREET}", "description": STREET},
            {"caseId": SETUP, "description": "x" * 70_000},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    async def test_records(self, plain_http: ClientSession, fields: dict[str, Any]) -> None:
        """What is on record is shown without what its request's row hides."""
        async with Sandbox(api_key=KEY) as sandbox:
            asker = Asker(plain_http, sandbox)
            data = json.dumps({**CONFIRMATION, **fields})
            said = await asker.send("POST", PATH, data=data.encode(), key=KEY)

            assert 200 == said.status
            assert [] == (await self.seen(Browser(plain_http, sandbox))).planted()

    async def test_the_usual_key_is_no_secret(self, browser: Browser, asker: Asker) -> None:
        """The credential that every sandbox has unless told otherwise hides nothing else."""
        await asker.ask(
            "confirm_payment", {**KEYED, "caseId": "test-1", "idempotencyKey": "test-2"}
        )
        told = json.loads((await browser.detail(1))["request"]["body"])

        assert ("test-1", "test-2") == (told["caseId"], told["idempotencyKey"])

    async def test_what_is_shown(self, browser: Browser, asker: Asker) -> None:
        """What is harmless is shown: a page that hides everything helps nobody."""
        body = {**KEYED, "email": EMAIL, "decisionId": CASE, "description": "For tea"}
        await asker.ask("confirm_payment", body)
        told = json.loads((await browser.detail(1))["request"]["body"])

        assert {**body, "email": HIDDEN, "description": HIDDEN} == told

    @pytest.mark.parametrize("key", [CASE, "cv1-" + "0123456789" * 4, "order-7", "a b"])
    def test_keys(self, key: str) -> None:
        """Keys as they are made are shown."""
        assert {"idempotencyKey": key} == Mask(json.dumps({"idempotencyKey": key}).encode()).fields

    async def test_markup_is_text(self, browser: Browser, asker: Asker) -> None:
        """Markup in a request is told as text in JSON, which no browser takes for a page."""
        await asker.ask("confirm_payment", {"<img src=x>": 1, "caseId": "<script>1</script>"})
        async with browser.http.get(f"{browser.sandbox.url}/_sandbox/requests/1") as said:
            assert "application/json" == said.headers["Content-Type"]
            assert "nosniff" == said.headers["X-Content-Type-Options"]
            assert "<" not in await said.text()

    async def seen(self, browser: Browser) -> Seen:
        """Return all that the page tells."""
        seen = Seen()
        batch, _ = await browser.batch()
        seen.add("feed", json.dumps(batch, ensure_ascii=False))
        for row in batch["rows"]:
            told = await browser.detail(row["number"])
            for name, part in told.items():
                seen.add(f"{name} of {row['number']}", json.dumps(part, ensure_ascii=False))
        seen.add("records", json.dumps(await browser.get("records"), ensure_ascii=False))
        return seen


COPIED: dict[str, dict[str, Any]] = {
    "confirm_payment": {
        **KEYED,
        "amount": 1.15,
        "email": EMAIL,
        "phoneNumber": PHONE,
        "decisionId": CASE,
        "idempotencyKey": """it's "$HOME" `id` \\ !x %s TOKEN-HERE Order(7)""",
    },
    "create_case_payment": {**CASE_PAYMENT, "productId": CASE, "status": "PAID"},
    "create_payment_intent": {"amount": 10, "metadata": {"email": EMAIL, "phone": PHONE}},
    "update_user_payment": GOOD["update_user_payment"][2],
    "update_payment_method": {
        **METHOD_UPDATE,
        "payment_method": {"name_on_card": "J", "active": True, "province_iso": "us_co"},
        "application": "planoorder",
        "view": "default",
    },
}


class TestCopies:
    async def copies(self, browser: Browser, asker: Asker, kind: str) -> list[str]:
        for operation, body in COPIED.items():
            said = await asker.ask(operation, body)
            assert 200 == said.status
        texts = [(await browser.detail(number))[kind] for number in range(1, 1 + len(COPIED))]
        for text in texts:
            assert not [secret for secret in PLANTED if secret in text]
        browser.sandbox.reset()  # A copy is a replay: let it be the first.
        return texts

    def check(self, sandbox: Sandbox) -> None:
        """Expect what was sent before, with placeholders for what was private."""
        assert [200] * len(COPIED) == [request.status for request in sandbox.requests]
        assert list(COPIED) == [request.operation for request in sandbox.requests]
        for request, wanted in zip(sandbox.requests, COPIED.values(), strict=True):
            sent = json.loads(request.body)
            if "idempotencyKey" not in wanted:
                sent.pop("idempotencyKey", None)  # The package makes one.
            assert sent.keys() == wanted.keys()
            for name in ("amount", "idempotencyKey", "decisionId", "productId", "id", "view"):
                assert sent.get(name) == wanted.get(name)

    @pytest.mark.skipif(not (shutil.which("curl") and shutil.which("sh")), reason="needs curl")
    async def test_curl(self, browser: Browser, asker: Asker) -> None:
        """A copied command asks the same, whatever characters the request held."""
        script = "\n".join(f"{text};" for text in await self.copies(browser, asker, "curl"))
        variables = {"PATH": os.environ["PATH"], "NO_PROXY": "*"}
        done = await asyncio.create_subprocess_exec(
            "sh", "-euc", script, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        await done.communicate()

        assert 0 == done.returncode
        self.check(browser.sandbox)

    async def test_python(self, browser: Browser, asker: Asker) -> None:
        """A copied script makes the same call by this package, without a warning."""
        texts = await self.copies(browser, asker, "python")
        run = "import sys; [exec(text, {}) for text in sys.argv[1:]]"
        command = (sys.executable, "-P", "-W", "error", "-c", run, *texts)
        done = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        out, _ = await done.communicate()

        assert 0 == done.returncode, out.decode()
        self.check(browser.sandbox)

    async def test_what_cannot_be_copied(self, browser: Browser, asker: Asker) -> None:
        """
        A bad request can be copied for a shell and not as a call; what is no operation cannot,
        nor what has a key that is not shown, for that would be no replay.
        """
        await asker.ask("confirm_payment", {**CONFIRMATION, "amount": -1})
        await asker.send("POST", PATH, data=b"no JSON")
        await asker.send("GET", "/x")
        await asker.send("POST", "/api/v1/cases/john%40example.com/payments", data=b"{}")
        await asker.ask("confirm_payment", {**KEYED, "idempotencyKey": f"pay {EMAIL}"})
        await asker.ask("confirm_payment", {**KEYED, "idempotencyKey": "two\nlines"})
        copies = [await browser.detail(number) for number in range(1, 7)]

        assert [True, *[False] * 5] == [one["curl"] is not None for one in copies]
        assert [None] * 6 == [one["python"] for one in copies]


class TestControls:
    async def test_script(self, browser: Browser) -> None:
        """Faults are scripted for an operation or for any, and cleared."""
        sandbox = browser.sandbox
        await browser.post("script", {"fault": "DELAY", "seconds": 0.2, "times": 2})
        fields = {"fault": "RATE_LIMIT", "retry_after": 3, "operation": "confirm_payment"}
        status, state = await browser.post("script", fields)

        assert 200 == status
        assert {
            None: (Fault.DELAY(seconds=0.2),) * 2,
            "confirm_payment": (Fault.RATE_LIMIT(retry_after=3),),
        } == sandbox.scripted
        assert [["DELAY(seconds=0.2)", 2]] == state["script"][0]["faults"]

        _, state = await browser.post("script/clear", {})

        assert () == sandbox.script_left
        assert [] == state["script"]

    async def test_chances(self, browser: Browser, asker: Asker) -> None:
        """Faults by chance are set, told, and met."""
        status, state = await browser.post("chances", {"chances": {"REFUSE": 1}})

        assert 200 == status
        assert {"REFUSE": 1} == state["chances"]
        assert {Fault.REFUSE: 1} == browser.sandbox.faults
        assert 503 == (await asker.ask("confirm_payment")).status

        await browser.post("chances", {"chances": {}})

        assert 200 == (await asker.ask("confirm_payment")).status

    async def test_chances_of_a_bad_day(self, plain_http: ClientSession) -> None:
        """The chances that a sandbox began with can be told back to it as they are."""
        async with Sandbox(fault_rate=0.01) as sandbox:
            before = sandbox.faults
            browser = Browser(plain_http, sandbox)
            chances = (await browser.post("script/clear", {}))[1]["chances"]
            sandbox.faults = {}
            await browser.post("chances", {"chances": chances})

            assert before == sandbox.faults
            assert 11 == len(before)

    async def test_rate_limit(self, browser: Browser) -> None:
        """A rate limit is set and lifted."""
        await browser.post("rate-limit", {"rate": 2.5})
        before = browser.sandbox.rate_limit
        await browser.post("rate-limit", {"rate": None})

        assert (2.5, None) == (before, browser.sandbox.rate_limit)

    async def test_no_rate_limit(self, browser: Browser) -> None:
        """A rate without end is told as none, for JSON has no word for it."""
        browser.sandbox.rate_limit = float("inf")

        assert None is (await browser.post("script/clear", {}))[1]["rate_limit"]

    async def test_reset(self, browser: Browser, asker: Asker) -> None:
        """A reset forgets what arrived and what is on record."""
        await asker.ask("confirm_payment")
        status, state = await browser.post("reset", {})

        assert (200, 0, 0) == (status, state["received"], state["recorded"]["payments"])
        assert [] == browser.sandbox.payments

    @pytest.mark.parametrize(
        ("name", "fields"),
        [
            ("script", {"fault": "NOPE"}),
            ("script", {"fault": "evolve"}),
            ("script", {"fault": ["OK"]}),
            ("script", {"fault": "OK", "times": 0}),
            ("script", {"fault": "OK", "times": 10**9}),
            ("script", {"fault": "OK", "times": True}),
            ("script", {"fault": "OK", "operation": "nope"}),
            ("script", {"fault": "OK", "operation": 7}),
            ("script", {"fault": "DELAY", "seconds": "1"}),
            ("script", {"fault": "DELAY", "seconds": -1}),
            ("script", {"fault": "DELAY", "seconds": float("nan")}),
            ("script", {"fault": "TRUNCATE", "status": 200}),
            ("chances", {"chances": {"REFUSE": 0.6, "HANG": 0.6}}),
            ("chances", {"chances": {"REFUSE": "1"}}),
            ("chances", {"chances": {"NOPE": 1}}),
            ("chances", {"chances": []}),
            ("rate-limit", {"rate": 0}),
            ("rate-limit", {"rate": 10**400}),
            ("rate-limit", {"rate": "fast"}),
            ("reset", []),
            ("reset", {"x": "y" * 20_000}),
        ],
        ids=lambda value: str(value)[:40],
    )
    async def test_refuses(self, browser: Browser, name: str, fields: object) -> None:
        """What cannot be is refused with a reason, and changes nothing."""
        sandbox = browser.sandbox
        sandbox.script(Fault.HANG)
        sandbox.faults = {Fault.DELAY: 0.5}
        status, said = await browser.post(name, fields)

        assert status in {400, 413}
        assert said["error"]
        assert (Fault.HANG,) == sandbox.script_left
        assert ({Fault.DELAY: 0.5}, None) == (sandbox.faults, sandbox.rate_limit)

    async def test_no_json(self, browser: Browser) -> None:
        """What is no JSON is refused."""
        url = f"{browser.sandbox.url}/_sandbox/reset"
        for data in (b"{", b"\xff", b"[" * 10_000):
            async with browser.http.post(url, data=data, headers=JSON) as said:
                assert 400 == said.status

    async def test_small_bodies(self, plain_http: ClientSession) -> None:
        """What is too long for the vendors is too long for the page."""
        async with Sandbox(max_body=10) as sandbox:
            browser = Browser(plain_http, sandbox)

            assert 413 == (await browser.post("reset", {"x": "y" * 20}))[0]

    async def test_a_full_script(self, browser: Browser) -> None:
        """So many faults can wait, and no more."""
        most = {"fault": "OK", "times": 1000}
        said = [(await browser.post("script", most))[0] for _ in range(2)]

        assert [200, 400] == said
        assert 1000 == len(browser.sandbox.script_left)


class TestFromPython:
    async def test_faults(self, sandbox: Sandbox) -> None:
        """Faults by chance can be set while it runs; bad ones leave the old ones."""
        sandbox.faults = {Fault.REFUSE: 0.25, Fault.HANG: 0.0}
        for bad in (1.5, -0.1, float("nan")):
            with pytest.raises(ValueError, match="rates"):
                sandbox.faults = {Fault.HTML: bad}
        with pytest.raises(TypeError, match="'REFUSE'"):
            sandbox.faults = {"REFUSE": 0.5}  # type: ignore[dict-item]  # wrong on purpose

        assert {Fault.REFUSE: 0.25} == sandbox.faults

    async def test_rate_limit(self, sandbox: Sandbox) -> None:
        """A rate limit that cannot be leaves the old one."""
        sandbox.rate_limit = 7.0
        with pytest.raises(ValueError, match="rate_limit"):
            sandbox.rate_limit = 0

        assert (7.0, 25) == (sandbox.rate_limit, sandbox.rate_burst)

    def test_threads(self) -> None:
        """While threads script, set and look, nothing fails and no fault is lost."""
        sandbox = Sandbox()

        def work() -> None:
            for number in range(300):
                sandbox.script(Fault.OK, operation=[None, *GOOD][number % 6])
                sandbox.faults = {Fault.REFUSE: number / 1000}
                few = len(sandbox.scripted.get(None, ()))
                assert len(sandbox.script_left) >= few

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert 1200 == len(sandbox.script_left)

    async def test_received(self, sandbox: Sandbox, asker: Asker) -> None:
        """A request tells what became of it: verdict, ending, answer and time."""
        sandbox.script(Fault.OK, Fault.DROP_BEFORE)
        await asker.ask("confirm_payment", KEYED)
        await attempt(asker, "confirm_payment", KEYED)
        await asker.ask("confirm_payment", KEYED)
        await asker.ask("confirm_payment", {})
        await until_true(lambda: all(one.ending for one in sandbox.requests))

        assert ["recorded", None, "replayed", "refused"] == [
            one.verdict for one in sandbox.requests
        ]
        assert ["answered", "reset", "answered", "answered"] == [
            one.ending for one in sandbox.requests
        ]
        assert [200, None, 409, 400] == [one.reply and one.reply.status for one in sandbox.requests]
        assert all(one.seconds is not None and one.seconds >= 0 for one in sandbox.requests)

    async def test_bytes(self, plain_http: ClientSession) -> None:
        """What is kept is bounded by memory too; the latest request stays, whatever it takes."""
        async with Sandbox(keep_bytes=50_000) as sandbox:
            asker = Asker(plain_http, sandbox)
            for _ in range(12):
                await asker.send("POST", PATH, data=b"x" * 10_000)
            kept = [request.number for request in sandbox.requests]
            await asker.send("POST", PATH, data=b"x" * 100_000)

            assert [9, 10, 11, 12] == kept
            assert [13] == [request.number for request in sandbox.requests]
            assert 13 == sandbox.received
        with pytest.raises(ValueError, match="keep_bytes"):
            Sandbox(keep_bytes=-1)

    def test_forgotten_while_it_goes_on(self) -> None:
        """A request that is forgotten before it ends takes nothing of what may be kept."""
        kept = Exchanges(2, 10_000)
        kept.add(slow := exchange(1, ended=False))
        kept.add(one := exchange(2))
        kept.add(exchange(3))
        kept.weigh(one)
        slow.seconds = 1.0
        kept.weigh(slow)
        kept.clear()
        kept.weigh(one)

        assert (0, 0) == (kept._bytes, len(kept))


class Terminal:
    """A standard output at which somebody sits, or not."""

    def __init__(self, *, person: bool) -> None:
        self._person = person

    def isatty(self) -> bool:
        return self._person


class TestCommand:
    @pytest.mark.parametrize(
        ("options", "opened"), [(["--open"], 1), (["--no-open"], 0), ([], 0), (["--no-page"], 0)]
    )
    def test_page(self, monkeypatch: pytest.MonkeyPatch, options: list[str], opened: int) -> None:
        """The command says where the page is, and opens it where it is asked to."""
        launched: list[str] = []
        monkeypatch.setattr(click, "launch", launched.append)
        say = output.say

        def say_and_interrupt(text: str, stream: Any) -> bool:
            if text.startswith("http"):
                os.kill(os.getpid(), signal.SIGINT)
            return say(text, stream)

        monkeypatch.setattr(command, "say", say_and_interrupt)
        done = CliRunner().invoke(cli.cli, ["sandbox", *options])
        url = done.output.splitlines()[0]

        assert 0 == done.exit_code
        assert ("--no-page" not in options) is (f"Watch requests arrive: {url}/\n" in done.output)
        assert [f"{url}/"] * opened == launched

    @pytest.mark.parametrize(
        ("person", "environ", "opens"),
        [
            (True, {"DISPLAY": ":0"}, True),
            (True, {"WAYLAND_DISPLAY": "wayland-0"}, True),
            (True, {}, False),
            (True, {"DISPLAY": ":0", "CI": "true"}, False),
            (False, {"DISPLAY": ":0"}, False),
        ],
    )
    def test_desktop(
        self,
        monkeypatch: pytest.MonkeyPatch,
        person: bool,
        environ: dict[str, str],
        opens: bool,
    ) -> None:
        """A browser opens by itself at a terminal with a display, and in no CI."""
        monkeypatch.setattr(sys, "stdout", Terminal(person=person))
        monkeypatch.setattr(sys, "platform", "linux")

        assert opens is command._at_a_desktop(environ)
