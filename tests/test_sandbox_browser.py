"""
The sandbox's page in a real browser: needs the dependency group `browser`, and a Chromium.

`SANDBOX_SCREENSHOTS=folder` keeps pictures for a person to look at.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import pathlib
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from asking import CONFIRMATION, GOOD, PATH
from canaries import EMAIL, KEY
from carevalidate_async.sandbox import Fault, Sandbox, _feed
from chromium import MARKS, WIDE, driver, objections, running_chromium, sized
from cli_support import running_sandbox, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = MARKS
expect: Any = driver.expect

MANY = 5000
CONNECTIONS = 8
HOSTILE = '<img src=x onerror="window.hacked=1"><script>window.hacked=1</script>'
# Times between two frames, and between a key and the frame that shows what it did.
MEASURE = """() => {
  window.gaps = []; window.delays = [];
  let last = performance.now();
  const frame = (now) => { gaps.push(now - last); last = now; requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  addEventListener("keydown", (event) => {
    requestAnimationFrame(() => delays.push(performance.now() - event.timeStamp));
  }, true);
}"""
# What a person at the keyboard meets by Tab from here on, until it is met again.
FOCUSED = """(view) => {
  const one = document.activeElement;
  const style = getComputedStyle(one);
  const shown = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
  const name = one.id || one.textContent.trim().slice(0, 30) || one.ariaLabel || one.tagName;
  const inside = one.closest(`#${view}`) && one.matches("button, input, select, summary");
  return [name, shown, Boolean(inside)];
}"""
CONTROLS = """(view) => [...document.getElementById(view).querySelectorAll("*")]
  .filter((one) => one.matches("button, input, select, summary"))
  .filter((one) => one.checkVisibility() && !one.disabled && one.tabIndex >= 0).length"""


def send(sandbox: Sandbox, operation: str, body: object = None, **headers: str) -> int | None:
    """Ask the sandbox; return the status, None where there was no answer."""
    method, path, good = GOOD[operation]
    host, port = sandbox.url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    headers = {"Content-Type": "application/json", "cv-api-key": "test", **headers}
    try:
        connection.request(method, path, json.dumps(good if body is None else body), headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return answer.status
    finally:
        connection.close()


def confirm(sandbox: Sandbox, key: str, **fields: object) -> int | None:
    return send(sandbox, "confirm_payment", {**CONFIRMATION, "idempotencyKey": key, **fields})


def flood(sandbox: Sandbox, number: int) -> list[threading.Thread]:
    """Send so many confirmations as fast as the sandbox takes them."""
    host, port = sandbox.url.removeprefix("http://").split(":")

    def run(first: int) -> None:
        parts = []
        for at in range(first, number, CONNECTIONS):
            body = json.dumps({**CONFIRMATION, "idempotencyKey": f"key-{at}"})
            end = "Connection: close\r\n" if at + CONNECTIONS >= number else ""
            parts.append(
                f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\ncv-api-key: test\r\n{end}"
                f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
            )
        with socket.create_connection((host, int(port))) as connection:
            data = "".join(parts).encode()
            sender = threading.Thread(target=connection.sendall, args=(data,))
            sender.start()
            while connection.recv(2**16):
                pass
            sender.join()

    threads = [threading.Thread(target=run, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    return threads


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with running_chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def contexts(chromium: Any) -> Iterator[dict[str, Any]]:
    """Keep windows of a kind: each test's sandbox is an origin, so nothing is remembered."""
    kept: dict[str, Any] = {}
    yield kept
    for context in kept.values():
        context.close()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(hang_seconds=0.2, seed=1) as running:
        yield running


@pytest.fixture
def show(chromium: Any, contexts: dict[str, Any], sandbox: Sandbox) -> Iterator[Any]:
    """Open the page as somebody would see it; nothing may go wrong meanwhile."""
    pages: list[Any] = []
    wrong: list[str] = []
    asked: list[str] = []

    def opened(width: str = "desktop", scheme: str = "light", **options: Any) -> Any:
        kind = repr((width, scheme, options))
        if kind not in contexts:
            contexts[kind] = chromium.new_context(**sized(width, scheme), **options)
            contexts[kind].set_default_timeout(15_000)
        page = contexts[kind].new_page()
        pages.append(page)
        page.on("console", lambda said: wrong.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(sandbox.url)
        expect(page.locator("#connection")).to_have_text("live")
        return page

    opened.wrong = wrong  # type: ignore[attr-defined]  # for a test that expects something
    url = sandbox.url
    yield opened
    for page in pages:
        page.close()
    assert [] == wrong
    assert [] == [one for one in asked if not one.startswith((f"{url}/", "data:"))]


@pytest.fixture
def picture(request: pytest.FixtureRequest) -> Any:
    """Keep a picture, where pictures are wanted."""
    folder = os.environ.get("SANDBOX_SCREENSHOTS")

    def take(page: Any, name: str) -> None:
        if folder:
            path = pathlib.Path(folder) / f"{request.node.name}-{name}.png"
            page.screenshot(path=path)

    return take


def rows(page: Any) -> Any:
    return page.locator("#rows .row")


class TestLive:
    def test_arrives(self, show: Any, sandbox: Sandbox) -> None:
        """A request shows up by itself, with what it means for the money."""
        page = show()
        expect(page.locator("#empty")).to_contain_text("Nothing has arrived yet")
        sandbox.script(Fault.OK, Fault.DROP_AFTER)
        for key in ("one", "two", "two"):
            confirm(sandbox, key)
        expect(rows(page)).to_have_count(3)
        outcomes = [text.strip() for text in page.locator("#rows .money").all_inner_texts()]

        assert ["recorded", "recorded, client unsure", "replayed key"] == outcomes
        assert ["200", "reset", "409"] == page.locator("#rows .status").all_inner_texts()
        expect(page.locator("#count-records")).to_have_text("2")

    def test_filters(self, show: Any, sandbox: Sandbox) -> None:
        """The list is filtered by operation, status, text and what went wrong, all at once."""
        page = show()
        confirm(sandbox, "first")
        confirm(sandbox, "second", amount=-1)
        send(sandbox, "create_payment_intent")
        expect(rows(page)).to_have_count(3)
        shown = page.locator("#shown")
        page.select_option("#operation", "confirm_payment")
        expect(shown).to_have_text("2 of 3 requests")
        page.check("#wrong")
        expect(shown).to_have_text("1 of 3 requests")
        page.select_option("#status", "2")
        expect(page.locator("#empty")).to_contain_text("No request matches")
        page.click("text=Clear the filters")
        expect(page.locator("#text")).to_be_focused()
        expect(shown).to_have_text("3 requests")
        page.fill("#text", "KEY_NOPE")
        expect(rows(page)).to_have_count(0)
        page.fill("#text", "first recorded")
        expect(rows(page)).to_have_count(1)

    def test_pauses(self, show: Any, sandbox: Sandbox) -> None:
        """A paused list stands still, says what it does not show, and catches up."""
        page = show()
        confirm(sandbox, "first")
        expect(rows(page)).to_have_count(1)
        page.click("#pause")
        for key in ("a", "b"):
            confirm(sandbox, key)
        expect(page.locator("#shown")).to_have_text("1 request, paused, 2 more since")
        expect(rows(page)).to_have_count(1)
        page.click("#pause")
        expect(rows(page)).to_have_count(3)
        page.click("#pause")
        sandbox.reset()
        confirm(sandbox, "c")
        expect(page.locator("#shown")).to_have_text("0 requests, paused, 1 more since")

    def test_reads(self, show: Any, sandbox: Sandbox) -> None:
        """An exchange is read in full: what was sent, what came back, and who had the same key."""
        page = show()
        sandbox.script(Fault.TRUNCATE)
        for _ in range(2):
            confirm(sandbox, "one", email=EMAIL)
        expect(rows(page)).to_have_count(2)
        rows(page).first.click()
        told = page.locator("#exchange")
        expect(told).to_contain_text("It is on record, but the client cannot know")
        expect(told).to_contain_text("Cut off here: 16 of 32 bytes")
        expect(told).to_contain_text("2 requests carried the same key")
        expect(told).to_contain_text('"email": "••••"')
        page.click("#exchange .same button")
        expect(page.locator("#exchange-title")).to_have_text("Request 2: confirm_payment")
        page.click("#tab-records")
        expect(page.locator("#records .payments tbody tr")).to_have_count(1)
        expect(page.locator("#records .payments")).to_contain_text("#2 replayed key")

    def test_tells_of_further_replays(self, show: Any, sandbox: Sandbox) -> None:
        """Who has the same key is said anew when another one comes, and the focus stays there."""
        page = show()
        for _ in range(2):
            confirm(sandbox, "one")
        expect(rows(page)).to_have_count(2)
        rows(page).first.click()
        page.focus("#same-key button")
        for number in (3, 4):
            confirm(sandbox, "one")
            expect(page.locator("#same-key")).to_contain_text(f"{number} requests carried the same")
            assert "2" == page.evaluate("document.activeElement.dataset.request")
        confirm(sandbox, "another")
        expect(rows(page)).to_have_count(5)
        expect(page.locator("#same-key button")).to_have_count(3)

    def test_comes_back(self, show: Any, sandbox: Sandbox) -> None:
        """A page whose sandbox went away says so, and shows the one that came back."""
        page = show()
        confirm(sandbox, "one")
        expect(rows(page)).to_have_count(1)
        runner: Any = sandbox._runner
        loop = runner.server._loop  # of the sandbox's thread
        sandbox._port = int(sandbox.url.rpartition(":")[2])
        asyncio.run_coroutine_threadsafe(sandbox.aclose(), loop).result()
        expect(page.locator("#connection")).to_contain_text("not connected")
        asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
        confirm(sandbox, "two")
        expect(page.locator("#connection")).to_have_text("live")
        expect(rows(page)).to_have_count(2)

        assert all("ERR_" in one for one in show.wrong)
        show.wrong.clear()


class TestManyRequests:
    def test_stays_responsive(self, show: Any, sandbox: Sandbox, picture: Any) -> None:
        """While thousands arrive at full speed few rows are drawn, and keys are answered."""
        page = show()
        confirm(sandbox, "first")
        expect(rows(page)).to_have_count(1)
        page.focus("#grid")
        page.evaluate(MEASURE)
        threads = flood(sandbox, MANY)
        drawn = []
        while any(thread.is_alive() for thread in threads):
            page.keyboard.press("k")
            drawn.append(page.evaluate("document.querySelectorAll('#rows .row').length"))
        expect(page.locator("#shown")).to_have_text(f"{MANY + 1:,} requests")
        page.keyboard.press("End")
        expect(page.locator(f"#row-{MANY + 1}")).to_be_visible()
        picture(page, "end")
        gaps, delays = page.evaluate("[gaps, delays]")
        nodes = page.evaluate("document.querySelectorAll('*').length")

        assert MANY + 1 == sandbox.received
        # Generous: other tests keep the machine busy.
        assert 1000 > max(gaps)
        assert 1000 > max(delays)
        assert 80 > max(drawn)
        assert 3000 > nodes
        assert page.locator("#skipped").is_hidden()

    def test_forgets(self, show: Any, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
        """The page holds so many rows at most, and what somebody reads stays where it is."""
        monkeypatch.setattr(_feed, "BACKLOG", 300)  # and a thousand more before some are dropped
        page = show()
        arrived = page.locator("#count-requests")
        for number in range(1, 6):
            for thread in flood(sandbox, 250):
                thread.join()
            expect(arrived).to_have_text(f"{number * 250:,}")
        page.focus("#grid")
        page.keyboard.press("End")
        page.keyboard.press("PageUp")
        expect(page.locator("#newest")).to_be_visible()
        chosen = page.locator("#grid").get_attribute("aria-activedescendant")
        for thread in flood(sandbox, 250):
            thread.join()
        expect(arrived).to_have_text("1,500")
        expect(page.locator("#shown")).to_have_text(re.compile(r"^\d{3} requests$"))
        expect(page.locator(f"#{chosen}")).to_be_in_viewport()

    def test_follows(self, show: Any, sandbox: Sandbox) -> None:
        """The newest request is in sight, unless somebody scrolled away from it."""
        page = show()
        for thread in flood(sandbox, 200):
            thread.join()
        expect(page.locator("#row-200")).to_be_visible()
        page.focus("#grid")
        page.keyboard.press("Home")
        expect(page.locator("#row-1")).to_be_visible()
        confirm(sandbox, "one more")
        expect(page.locator("#shown")).to_have_text("201 requests")

        expect(page.locator("#row-1")).to_be_visible()

        page.click("#newest")
        expect(page.locator("#row-201")).to_be_visible()


class TestFaults:
    def test_scripts(self, show: Any, sandbox: Sandbox) -> None:
        """Faults are scripted and cleared, and what is left is shown as requests meet them."""
        page = show()
        page.click("#tab-faults")
        page.select_option("#script-fault", "REFUSE")
        page.select_option("#script-operation", "confirm_payment")
        page.fill("#script-times", "3")
        page.click("text=Script it")
        left = page.locator("#script-left")
        expect(left).to_have_text("confirm_payment: REFUSE \u00d7 3")

        assert 503 == confirm(sandbox, "one")

        expect(left).to_have_text("confirm_payment: REFUSE \u00d7 2")
        page.click("text=Clear the script")
        expect(page.locator("#script")).to_have_text("Nothing is scripted.")
        expect(page.locator("#script-operation")).to_be_focused()

        assert () == sandbox.script_left

    def test_chances_and_rate(self, show: Any, sandbox: Sandbox) -> None:
        """Chances are set by number or slider and told when they cannot be; so is the rate."""
        page = show()
        page.click("#tab-faults")
        number = page.get_by_label("Chance of REFUSE, in percent", exact=True)
        number.fill("60")
        number.press("Enter")
        expect(page.locator("#chance-sum")).to_have_text("60 % of requests meet a fault by chance.")
        slider = page.get_by_label("Chance of HANG, in percent, slider")
        slider.focus()
        page.keyboard.press("End")
        expect(page.locator("#control-error")).to_contain_text("add up to at most 1")

        assert {Fault.REFUSE: 0.6} == sandbox.faults

        sandbox.faults = {Fault.DELAY(seconds=0.2): 0.5}
        expect(
            page.get_by_label("Chance of DELAY(seconds=0.2), in percent", exact=True)
        ).to_have_value("50")
        page.click("text=All off")
        expect(page.get_by_label("Chance of DELAY(seconds=0.2)")).to_have_count(0)
        page.fill("#rate", "7")
        page.press("#rate", "Enter")
        expect(page.locator("#rate-note")).to_contain_text("25 are admitted at once")

        assert ({}, 7) == (sandbox.faults, sandbox.rate_limit)
        assert ["error"] == [one.partition(":")[0] for one in show.wrong]  # the refusal
        show.wrong.clear()

    def test_resets(self, show: Any, sandbox: Sandbox) -> None:
        """A reset says what it forgets, and does it only when it is confirmed."""
        page = show()
        confirm(sandbox, "one")
        expect(rows(page)).to_have_count(1)
        page.click("#tab-faults")
        page.click("text=Reset…")
        expect(page.locator("#resetting")).to_contain_text("1 request that arrived and 1 payment")
        page.keyboard.press("Enter")  # the harmless button has the focus
        expect(page.locator("#resetting")).to_be_hidden()

        assert 1 == sandbox.received

        page.click("text=Reset…")
        page.click("#reset-sure")
        expect(page.locator("#count-requests")).to_have_text("0")

        assert 0 == sandbox.received


class TestKeyboard:
    def test_list(self, show: Any, sandbox: Sandbox) -> None:
        """Requests are walked, opened and closed by keys, and the focus is never lost."""
        page = show()
        for key in ("one", "two", "three"):
            confirm(sandbox, key)
        expect(rows(page)).to_have_count(3)
        page.keyboard.press("j")
        page.keyboard.press("j")
        expect(page.locator("#grid")).to_have_attribute("aria-activedescendant", "row-2")
        page.keyboard.press("Enter")
        expect(page.locator("#exchange-title")).to_have_text("Request 2: confirm_payment")
        page.keyboard.press("ArrowDown")
        expect(page.locator("#exchange-title")).to_have_text("Request 3: confirm_payment")
        page.locator("#exchange .close").focus()
        page.keyboard.press("Escape")
        expect(page.locator("#exchange")).to_be_hidden()
        expect(page.locator("#grid")).to_be_focused()
        page.keyboard.press("/")
        page.keyboard.type("jw?")
        expect(page.locator("#text")).to_have_value("jw?")

        assert not page.is_checked("#wrong")

    def test_shortcuts(self, show: Any) -> None:
        """The list of shortcuts opens by a key; those of one letter can be turned off for good."""
        page = show()
        page.keyboard.press("?")
        expect(page.locator("#shortcuts")).to_be_visible()
        page.uncheck("#single-keys")
        page.keyboard.press("Escape")
        page.keyboard.press("w")
        page.reload()
        expect(page.locator("#connection")).to_have_text("live")
        page.keyboard.press("w")

        assert not page.is_checked("#wrong")

    @pytest.mark.parametrize("view", ["requests", "records", "faults"])
    def test_every_control_is_reached(self, show: Any, sandbox: Sandbox, view: str) -> None:
        """Tab meets every control of a view, each with a focus that can be seen."""
        sandbox.script(Fault.OK)
        confirm(sandbox, "one")
        sandbox.script(Fault.REFUSE)
        page = show()
        if view == "requests":
            rows(page).first.click()
            expect(page.locator("#exchange .copies")).to_be_visible()
        page.click(f"#tab-{view}")
        if view == "records":
            expect(page.locator("#records .payments")).to_be_visible()
        wanted = page.evaluate(CONTROLS, view)
        page.focus(f"#tab-{view}")
        met = []
        for _ in range(wanted + 8):
            page.keyboard.press("Tab")
            name, shown, inside = page.evaluate(FOCUSED, view)
            if inside:
                assert shown, name
                met.append(name)

        assert wanted
        assert wanted <= len(met)

    def test_tabs(self, show: Any) -> None:
        """The views are tabs as screen readers know them."""
        page = show()
        page.focus("#tab-requests")
        page.keyboard.press("ArrowRight")
        expect(page.locator("#tab-records")).to_be_focused()
        expect(page.locator("#records")).to_be_visible()
        page.keyboard.press("End")
        expect(page.locator("#faults")).to_be_visible()
        expect(page.locator("#requests")).to_be_hidden()


class TestLooks:
    @pytest.mark.parametrize(("width", "scheme"), [("desktop", "light"), ("phone", "dark")])
    def test_is_accessible(
        self, show: Any, sandbox: Sandbox, picture: Any, width: str, scheme: str
    ) -> None:
        """On a desk in the light, and on a phone in the dark, axe objects to no view."""
        page = show(width, scheme)
        found = {"empty": objections(page)} if width == "desktop" else {}
        sandbox.script(Fault.OK, Fault.DROP_AFTER, Fault.TRUNCATE, Fault.REFUSE)
        for key in ("one", "two", "two", "three", "one"):
            confirm(sandbox, key)
        expect(rows(page)).to_have_count(5)
        picture(page, "list")
        rows(page).nth(2).click()
        expect(page.locator("#exchange .copies")).to_be_visible()
        page.click("summary")
        found["exchange"] = objections(page)
        picture(page, "exchange")
        page.click("#tab-records")
        expect(page.locator("#records .payments")).to_be_visible()
        picture(page, "records")
        if width == "phone":
            found["records"] = objections(page)
        page.click("#tab-faults")
        found["faults"] = objections(page)
        picture(page, "faults")
        page.keyboard.press("?")
        if width == "desktop":
            found["shortcuts"] = objections(page)

        assert [""] * len(found) == list(found.values())

    def test_fits_a_phone(self, show: Any, sandbox: Sandbox) -> None:
        """Nothing has to be scrolled sideways to be reached, however small the phone."""
        page = show("narrow")
        confirm(sandbox, "k" * 255)
        rows(page).first.click()
        expect(page.locator("#exchange .copies")).to_be_visible()
        page.click("summary")
        wide = [page.evaluate(WIDE)]
        for view in ("records", "faults"):
            page.click(f"#tab-{view}")
            wide.append(page.evaluate(WIDE))

        assert [0, 0, 0] == wide

    def test_themes(self, show: Any) -> None:
        """The page is as the system is, until somebody wants another theme, which it remembers."""
        page = show(scheme="dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        grounds = [page.evaluate(ground)]
        for _ in range(2):
            page.click("#theme")
            grounds.append(page.evaluate(ground))
        page.reload()
        expect(page.locator("#theme")).to_have_text("Theme: dark")

        assert grounds[0] == grounds[2] != grounds[1]


class TestHostile:
    def test_markup_is_text(self, show: Any, sandbox: Sandbox) -> None:
        """Markup in a body, a key or a header is shown as text and does nothing."""
        page = show()
        fields = {HOSTILE: HOSTILE, "caseId": HOSTILE, "idempotencyKey": HOSTILE}
        send(sandbox, "confirm_payment", {**CONFIRMATION, **fields}, Host=HOSTILE)
        confirm(sandbox, HOSTILE)
        sandbox.script(Fault.REFUSE(body=json.dumps({"message": HOSTILE})))
        confirm(sandbox, "three")
        expect(rows(page)).to_have_count(3)
        for number in (1, 2, 3):
            page.click(f"#row-{number}")
            expect(page.locator("#exchange-title")).to_contain_text(f"Request {number}")
        expect(page.locator("#exchange")).to_contain_text("<img src=x onerror")
        page.click("#tab-records")
        expect(page.locator("#records .payments")).to_contain_text("<img src=x onerror")

        assert None is page.evaluate("window.hacked ?? null")
        assert 0 == page.locator("main img, main script").count()

    def test_another_page(self, chromium: Any, sandbox: Sandbox) -> None:
        """A page of another origin can neither read the feed nor reset the sandbox."""
        confirm(sandbox, "one")
        attack = """async (url) => {
          const results = [];
          for (const [path, options] of [
            ["requests/1", {}],
            ["reset", {method: "POST", headers: {"Content-Type": "application/json"}, body: "{}"}],
            ["reset", {method: "POST", mode: "no-cors", body: "{}"}],
          ]) {
            try { results.push((await fetch(`${url}/_sandbox/${path}`, options)).type); }
            catch (error) { results.push(error.name); }
          }
          results.push(await new Promise((done) => {
            const feed = new EventSource(`${url}/_sandbox/feed`);
            feed.onopen = () => done("open");
            feed.onerror = () => { feed.close(); done("error"); };
          }));
          return results;
        }"""
        with running_sandbox() as other, contextlib.closing(chromium.new_context()) as context:
            page = context.new_page()
            page.goto(f"{other.url}/openapi.json")
            results = page.evaluate(attack, sandbox.url)

        assert ["TypeError", "TypeError", "TypeError", "error"] == results
        assert 1 == sandbox.received


class TestCopies:
    def test_clipboard(self, show: Any, sandbox: Sandbox) -> None:
        """The buttons and keys copy what the page shows, without the key that was sent."""
        page = show(permissions=["clipboard-read", "clipboard-write"])
        send(sandbox, "confirm_payment", {**CONFIRMATION, "email": EMAIL}, **{"cv-api-key": KEY})
        rows(page).first.click()
        page.click("text=Copy as curl")
        expect(page.locator("#toast")).to_have_text("Copied as curl.")
        curl = page.evaluate("navigator.clipboard.readText()")
        page.keyboard.press("y")
        expect(page.locator("#toast")).to_have_text("Copied as Python.")
        python = page.evaluate("navigator.clipboard.readText()")

        assert curl.startswith(f"curl --request POST {sandbox.url}{PATH}")
        assert "client.confirm_payment(" in python
        assert not re.search(f"{re.escape(EMAIL)}|{KEY}", curl + python)


def test_watchers_leave(chromium: Any, sandbox: Sandbox) -> None:
    """When the last page is closed, nobody is told anything any more."""
    assert sandbox._handler.page is not None
    watchers: Any = sandbox._handler.page
    with contextlib.closing(chromium.new_context()) as context:
        context.new_page().goto(sandbox.url)
        wait_for(lambda: watchers._watchers == 1)
    wait_for(lambda: watchers._watchers == 0)
