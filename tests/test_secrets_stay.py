"""
What must not be seen is planted everywhere, and looked for wherever an error can be looked at: in
its text, in its traceback with all local variables, in the log of every library, in what hooks get.
"""

from __future__ import annotations

import asyncio
import csv
import io
import ipaddress
import json
import logging
import os
import pathlib
import re
import signal
import socket
import stat
from datetime import date
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

import aiohttp
import click
import pytest
from click.testing import CliRunner

from calls import settle
from canaries import (
    CITY,
    COOKIE,
    CREDENTIALS,
    DESCRIPTION,
    DIGITS,
    EMAIL,
    HELD,
    INTENT_SECRET,
    KEY,
    NMI,
    OWNER,
    PHONE,
    PROXY_PASSWORD,
    REQUESTS,
    SETUP,
    STREET,
    TOKEN,
    VENDORS,
    Seen,
    nothing_seen,
)
from carevalidate_async import (
    CareValidate,
    CareValidateError,
    ConfigurationError,
    InvalidRequestError,
    PaymentConfirmation,
    RetryPolicy,
    cli,
)
from carevalidate_async._run import file_run
from carevalidate_async.bulk import confirm_payments
from carevalidate_async.planocore import Planocore
from carevalidate_async.sandbox import Fault, Sandbox
from cli_support import running_sandbox, start, wait_for
from raw_server import RawServer, Step, answers, breaks_off, http, resets, says, self_signed, silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from carevalidate_async.hooks import Event

ASKS = tuple(REQUESTS)


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    """Looks everywhere, at the end into the logs too, and finds nothing."""
    with nothing_seen(caplog) as looked:
        yield looked


async def ask(how: str, url: str, seen: Seen, **options: Any) -> BaseException | None:
    """Make a call, looking at all that can be seen of it; return its error."""
    asyncio.get_running_loop().slow_callback_duration = 0.0

    def hook(event: Event) -> None:
        seen.add("event", event)
        raise LookupError

    options = {
        "retry": RetryPolicy(max_attempts=2, base_delay=0),
        "attempt_timeout": 0.4,
        "hooks": [hook],
        **options,
    }
    async with VENDORS[how](CREDENTIALS[how], base_url=url, **options) as client:
        seen.add("client", client)
        seen.add("session", client._session)
        try:
            answer = await REQUESTS[how](client)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
            seen.add_error(error)
            return error
        seen.add_answer(answer)
        return None


FAULTS: dict[str, Callable[[str], Step]] = {
    "400": lambda said: answers(400, {"success": False, "message": said}),
    "401": lambda said: answers(401, {"status": 401, "error": said}),
    "404, text": lambda said: answers(404, said.encode()),
    "409": lambda said: answers(409, {"code": "IDEMPOTENCY_ERROR", "description": said}),
    "422, code": lambda said: answers(422, {"success": False, "code": said, "status": said}),
    "429": lambda said: answers(429, {"message": said}, f"Retry-After: {said}"),
    "500": lambda said: answers(500, {"message": said}, f"X: {said}", f"Set-Cookie: a={COOKIE}"),
    "502": lambda said: answers(502, f"<html>{said}".encode(), "Content-Type: text/html"),
    "302": lambda said: answers(302, said.encode(), "Location: http://127.0.0.1:9/?" + KEY),
    "200, no": lambda said: answers(200, {"success": False, "message": said}),
    "200, text": lambda said: answers(200, said.encode(), f"X: {said}"),
    "200, half": lambda said: answers(200, f'{{"success": true, "message": "{said}'.encode()),
    "200, wrong type": lambda said: answers(
        200, {"success": said, "status": said, "data": {"result": {"paymentId": [said]}}}
    ),
    "200, wrong name": lambda said: answers(200, {said: said, "data": {said: said}}),
    "truncated": lambda said: breaks_off(http(200, said.encode())[:-1]),
    "half a head": lambda said: breaks_off(f"HTTP/1.1 200 OK\r\nX: {said}\r\n".encode()),
    "junk": lambda said: says(f"{said}\r\n\r\n".encode()),
    "junk for a chunk": lambda said: says(
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{said}\r\n".encode()
    ),
    "bad header": lambda said: says(f"HTTP/1.1 200 OK\r\n{said}\r\n\r\n".encode()),
    "bad length": lambda said: says(f"HTTP/1.1 200 OK\r\nContent-Length: {said}\r\n\r\n".encode()),
    "not gzip": lambda said: answers(200, said.encode(), "Content-Encoding: gzip"),
    "reset": lambda said: resets(said.encode()),
    "closed": lambda _: breaks_off(),
    "silence": lambda _: silent,
    "too long": lambda said: answers(200, said.encode() * 99_999),
}


@pytest.mark.deep
@pytest.mark.parametrize("how", ASKS)
class TestErrors:
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_of_an_answer(self, seen: Seen, fault: str, how: str) -> None:
        """However a vendor answers, and however much it tells, errors and logs keep it."""
        async with RawServer(*[FAULTS[fault](HELD[how])] * 2) as server:
            error = await ask(how, server.url, seen)

        assert isinstance(error, CareValidateError)
        # They were there to be seen.
        assert CREDENTIALS[how] in str(server.requests[0])

    async def test_of_no_connection(self, seen: Seen, how: str) -> None:
        """Where there is no connection there is nothing to be seen either."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        error = await ask(how, f"http://127.0.0.1:{port}", seen)

        assert isinstance(error, CareValidateError)
        assert isinstance(error.__cause__, ConnectionRefusedError)

    async def test_of_tls(self, seen: Seen, how: str) -> None:
        """Nor is there where the server is not trusted."""
        async with RawServer(tls=self_signed()) as server:
            error = await ask(how, server.url, seen, attempt_timeout=2)

        assert isinstance(error, CareValidateError)
        assert "certificate" in str(error.__cause__)

    @pytest.mark.parametrize("answer", [None, 407, 502])
    async def test_of_a_proxy(self, seen: Seen, how: str, answer: int | None) -> None:
        """Nor is the proxy's password, whether the proxy is there or not."""
        step: Step = answers(answer or 200, HELD[how].encode())
        async with RawServer(step, step) as server:
            if answer is None:
                server.close_all()
            address = server.url.removeprefix("http://") if answer else "127.0.0.1:1"
            proxy = f"http://user:{PROXY_PASSWORD}@{address}"
            error = await ask(how, "https://vendor.example", seen, proxy=proxy)

        assert isinstance(error, CareValidateError)

    async def test_of_a_full_pool(self, seen: Seen, how: str) -> None:
        """Nor is what was in the queue."""
        async with (
            RawServer(silent, silent) as server,
            VENDORS[how](
                CREDENTIALS[how], base_url=server.url, max_connections=1, deadline=0.05
            ) as client,
        ):
            tasks = [asyncio.create_task(REQUESTS[how](client)) for _ in range(2)]
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for error in done:
            assert isinstance(error, CareValidateError)
            seen.add_error(error)

    @pytest.mark.parametrize("fault", ["silence", "500"])
    async def test_of_a_cancelled_call(self, seen: Seen, fault: str, how: str) -> None:
        """Nor is there in the traceback of a cancellation, on the wire or between attempts."""
        patient = RetryPolicy(max_attempts=2, base_delay=10**9, max_delay=10**9)
        async with RawServer(FAULTS[fault](HELD[how])) as server:
            task = asyncio.create_task(
                ask(how, server.url, seen, attempt_timeout=9, deadline=None, retry=patient)
            )
            await settle()
            task.cancel()
            error = await task

        if how == "create_payment_intent" and fault == "500":  # never repeated, so over before
            assert isinstance(error, CareValidateError)
        else:
            assert isinstance(error, asyncio.CancelledError)

    async def test_of_a_call_that_is_cancelled_in_its_answer(self, seen: Seen, how: str) -> None:
        """Nor are the vendor's cookies there, once the head of the answer has come."""
        head = f"HTTP/1.1 200 OK\r\nSet-Cookie: session={COOKIE}\r\nContent-Length: 100\r\n\r\n{{"
        async with RawServer(says(head.encode())) as server:
            task = asyncio.create_task(ask(how, server.url, seen, attempt_timeout=9, deadline=None))
            await server.arrived(1)
            await settle()
            task.cancel()

            assert isinstance(await task, asyncio.CancelledError)

    async def test_of_a_closed_client(self, seen: Seen, how: str) -> None:
        """Nor is there where the client is closed."""
        client = VENDORS[how](CREDENTIALS[how], base_url="http://127.0.0.1:9")
        await client.aclose()
        with pytest.raises(CareValidateError) as caught:
            await REQUESTS[how](client)

        seen.add_error(caught.value)

    async def test_of_success(self, seen: Seen, how: str) -> None:
        """Nor is there where all goes well: an answer does not show what it holds."""
        async with RawServer() as server:
            if how == "create_payment_intent":
                data = {"success": True, "data": {"paymentIntentSecret": INTENT_SECRET}}
                server.script.append(answers(200, data))
            if how == "update_payment_method":
                data = {"status": "action-successful", "data": {"name_on_card": OWNER}}
                server.script.append(answers(200, data))
            assert None is await ask(how, server.url, seen)


class TestRefusals:
    @pytest.mark.parametrize("secret", [f"{KEY} with blanks", f"{KEY}\n", f"{KEY}é"])
    @pytest.mark.parametrize("vendor", [CareValidate, Planocore])
    def test_credential(
        self, seen: Seen, secret: str, vendor: type[CareValidate | Planocore]
    ) -> None:
        """A credential that cannot be used is refused without a look at it."""
        with pytest.raises(ConfigurationError) as caught:
            vendor(secret)

        seen.add_error(caught.value)

    @pytest.mark.parametrize(
        "url",
        [f"https://user:{KEY}@vendor.example", f"https://v.example/?k={KEY}", f"http://{KEY} x"],
    )
    def test_url(self, seen: Seen, url: str) -> None:
        """The refusal of a URL does not repeat it: it may hold a credential."""
        with pytest.raises(ConfigurationError) as caught:
            CareValidate("test", base_url=url)

        seen.add("str", str(caught.value))
        seen.add("repr", repr(caught.value))

    @pytest.mark.parametrize(
        "change",
        [
            {"email": DESCRIPTION},
            {"amount": Decimal("1.001")},
            {"valid_until": date(2024, 1, 1)},
            {"status": DESCRIPTION},
            {"phone_number": ""},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_field(self, seen: Seen, change: dict[str, Any]) -> None:
        """The refusal of a field names it, and repeats neither its value nor another's."""
        fields: dict[str, Any] = {
            "case_id": "case-1",
            "amount": Decimal(1),
            "payment_date": date(2025, 1, 1),
            "valid_until": date(2025, 1, 1),
            "status": "PAID",
            "email": EMAIL,
            "phone_number": PHONE,
            "description": DESCRIPTION,
            **change,
        }
        with pytest.raises(InvalidRequestError) as caught:
            PaymentConfirmation(**fields)

        assert next(iter(change)) == caught.value.field
        seen.add_error(caught.value)

    @pytest.mark.parametrize("change", [{"case_ids": "c"}, {"case_id": None}])
    def test_missing_field(self, seen: Seen, change: dict[str, Any]) -> None:
        """Nor does that of a field that is missing or that there is not."""
        with pytest.raises((TypeError, InvalidRequestError)) as caught:
            PaymentConfirmation(email=EMAIL, phone_number=PHONE, **change)

        seen.add_error(caught.value)


COLUMNS = (
    *("case_id", "amount", "payment_date", "valid_until", "status", "email", "phone_number"),
    *("decision_id", "description", "idempotency_key", "note"),
)
# Refused before it is sent, each for what stands in one field.
INVALID: Mapping[str, str] = {
    "amount": f"{DIGITS}.123",
    "valid_until": PHONE,
    "status": OWNER,
    "email": DESCRIPTION,
    "idempotency_key": f"{EMAIL} \xe9",
}
# No rows at all: too few cells, a stray quote, another encoding; half an object, none, one with a
# field twice, with a field that is nearly named, and one without end.
UNREADABLE: Mapping[str, str] = {
    "csv": f'{EMAIL},{PHONE}\n"{DESCRIPTION}"x,{OWNER}\n{STREET}\xff,{EMAIL}\n',
    "jsonl": f'{{"email": "{EMAIL}", "phone\n"{EMAIL}\xff"\n["{DESCRIPTION}", "{OWNER}"]\n'
    f'{{"email": "{EMAIL}", "email": "{EMAIL}"}}\n{{"E-mail": "{EMAIL}"}}\n{"[" * 9999}{CITY}\n',
}


def person(number: int, **changes: str) -> dict[str, str]:
    """Return a row that can be sent, but for *changes*, with canaries wherever a text goes."""
    return {
        "case_id": f"{SETUP}-{number}",
        "amount": "1.50",
        "payment_date": "2026-01-05",
        "valid_until": "2026-02-05",
        "status": "PAID",
        "email": EMAIL,
        "phone_number": PHONE,
        "decision_id": NMI,
        "description": DESCRIPTION,
        "note": OWNER,
        **changes,
    }


def write(name: str, *rows: dict[str, str], more: str = "") -> str:
    """Write *rows* in the format that *name* ends with, and *more*; return *name*."""
    text = io.StringIO()
    if name.endswith("csv"):
        writer = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    else:
        text.writelines(json.dumps(row) + "\n" for row in rows)
    pathlib.Path(name).write_bytes(text.getvalue().encode() + more.encode("latin-1"))
    return name


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> Iterator[Sandbox]:
    """A sandbox that takes the planted key, and a folder where nothing is yet."""
    monkeypatch.setenv("CAREVALIDATE_API_KEY", KEY)
    monkeypatch.delenv("CAREVALIDATE_BASE_URL", raising=False)
    monkeypatch.delenv("CAREVALIDATE_ENVIRONMENT", raising=False)
    monkeypatch.chdir(tmp_path)
    with running_sandbox(api_key=KEY) as sandbox:
        yield sandbox


def look_at_journals(seen: Seen) -> set[str]:
    """Take in what runs left here beside their input; return how the files' names end."""
    found = [path for path in pathlib.Path().iterdir() if ".journal" in path.name]
    for path in found:
        seen.add(path.name, path.read_bytes())
    return {path.suffix for path in found}


def modes() -> dict[str, int]:
    """Return the rights on each file here."""
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in pathlib.Path().iterdir()}


def confirm(seen: Seen, *arguments: str) -> dict[str, Any]:
    """Run the command in this process, looking at what it says; return its counts."""
    result = CliRunner().invoke(cli.cli, ["confirm", *arguments, "--json"])
    seen.add("standard output", result.stdout)
    seen.add("standard error", result.stderr)
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


each_format = pytest.mark.parametrize("name", ["payments.csv", "payments.jsonl"])


@pytest.mark.deep
@each_format
class TestRuns:
    """A run over a file keeps what it reads, in its journal too."""

    def test_with_every_kind_of_row(
        self, seen: Seen, served: Sandbox, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Output, logs and journal tell of nobody, and the rejects file of all who are in it."""
        monkeypatch.setattr(file_run, "confirm_payments", partial(confirm_payments, pause=0))
        said = f"{KEY} {EMAIL} {PHONE} {DIGITS} {DESCRIPTION}"
        no = json.dumps({"success": False, "message": said, "code": said})
        lost = [Fault.ERROR_AFTER(body=no.replace(said, KEY))] * 2
        served.script(Fault.OK, Fault.HTML(status=400, body=no), *lost, Fault.REFUSE(body=no))
        bad = [person(9, **{field: value}) for field, value in INVALID.items()]
        rows = [person(1), person(2), person(1), person(3), person(4), *bad]
        write(name, *rows, more=UNREADABLE[name.partition(".")[2]])
        options = ("--base-url", served.url, "--concurrency", "1", "--max-attempts", "2")

        rehearsed = confirm(seen, name, *options, "--dry-run")
        first = confirm(seen, name, *options, "--rejects", "rejects")
        again = confirm(seen, name, *options)
        rejects = Seen()
        rejects.add("rejects", pathlib.Path("rejects").read_bytes())

        assert {".journal"} == look_at_journals(seen)
        # All of it happened.
        assert (2, 1, 1, 1) == tuple(
            first[kind] for kind in ("confirmed", "rejected", "unknown", "duplicates")
        )
        assert rehearsed["invalid"] == first["invalid"] == again["invalid"] >= len(INVALID) + 3
        assert 1 == again["already_recorded"]
        # What a person is to correct is there to be read, and the credential is not.
        assert {EMAIL, PHONE, DESCRIPTION, NMI, OWNER} <= {
            secret for _, secret in rejects.planted()
        }
        assert KEY not in {secret for _, secret in rejects.planted()}

    def test_a_terminal_is_told_nothing(self, served: Sandbox, name: str) -> None:
        """
        What moves a cursor, in a column's name or a vendor's words, is not printed.
        """
        column = "\x1b[2J\x9b1A\rline 1: confirmed\nline 2: confirmed"
        served.script(Fault.HTML(status=400, body=json.dumps({"message": column})))
        rows = [{**person(1), column: "x"}]
        if name.endswith("csv"):
            text = io.StringIO()
            writer = csv.DictWriter(text, [*COLUMNS, column])
            writer.writeheader()
            writer.writerows(rows)
            pathlib.Path(name).write_text(text.getvalue(), newline="")
        else:
            write(name, *rows)
        for stream in ([], ["--dry-run"]):
            result = CliRunner().invoke(
                cli.cli, ["confirm", name, "--base-url", served.url, *stream], color=True
            )

            assert set("\x1b\x9b\r").isdisjoint(result.output)
            assert "\nline 2: confirmed" not in result.output

    @pytest.mark.parametrize("end", ["interrupted", "killed"])
    def test_that_ends_in_the_middle(
        self, seen: Seen, served: Sandbox, name: str, end: str
    ) -> None:
        """
        A process that is stopped, or dies, has told nobody, not even in development mode; its files
        are its owner's alone from the first byte, whatever they were before and whatever is usual.
        """
        served.script(*[Fault.HANG_AFTER] * 3)
        write(name, *map(person, range(3)), person(9, email=DESCRIPTION))
        for file in ("kept.journal", "rejects"):
            pathlib.Path(file).touch()
            pathlib.Path(file).chmod(0o666)
        options = ("--base-url", served.url, "--journal", "kept.journal", "--rejects", "rejects")
        loud = {**os.environ, "PYTHONDEVMODE": "1", "PYTHONASYNCIODEBUG": "1"}
        run = start("confirm", name, *options, env=loud, umask=0)
        wait_for(lambda: len(served.payments) == 3)
        rights = modes()
        assert {".journal", ".journal-wal"} == look_at_journals(seen)
        if end == "killed":
            run.kill()
        else:
            run.send_signal(signal.SIGINT)
            assert run.stderr is not None
            seen.add("beginning of standard error", next(run.stderr) + next(run.stderr))
            run.send_signal(signal.SIGINT)
        out, err = run.communicate(timeout=20)
        seen.add("standard output", out)
        seen.add("standard error", err)
        look_at_journals(seen)

        del rights[name]
        assert {"kept.journal": 0o600, "kept.journal-wal": 0o600, "rejects": 0o600} == rights
        assert {0o600} == {right for file, right in modes().items() if file != name}
        assert (end == "interrupted") is ("unknown" in out)
        assert EMAIL.encode() in served.bodies[0]  # It was there to be seen.

    def test_that_cannot_go_on(self, seen: Seen, served: Sandbox, name: str) -> None:
        """Nor does a run tell whose rows it could not write down."""
        write(name, person(1), person(9, email=DESCRIPTION), more=UNREADABLE[name.split(".")[1]])
        pathlib.Path("other.journal").write_text(f"{EMAIL} {DESCRIPTION}")
        for trouble in (
            ("--journal", "other.journal"),
            ("--rejects", "/dev/full", "--journal", "full.journal"),
            ("--journal", name),
        ):
            result = CliRunner().invoke(
                cli.cli, ["confirm", name, "--base-url", served.url, *trouble]
            )
            seen.add("standard output", result.stdout)
            seen.add("standard error", result.stderr)

            assert result.exit_code in {1, 2}
            assert "Error: " in result.stderr
            assert "Traceback" not in result.stderr

    def test_of_a_file_that_is_wrong_as_a_whole(
        self, seen: Seen, served: Sandbox, name: str
    ) -> None:
        """A file without its column names, or of another kind, is refused without its words."""
        rows = {"csv": "{}", "jsonl": "[{}]"}[name.split(".")[1]]
        people = json.dumps({"email": EMAIL, "description": DESCRIPTION})
        for text in (
            rows.format(f'{SETUP},{EMAIL},"{PHONE}",{DESCRIPTION},{OWNER}'),
            rows.format(f"{SETUP};{EMAIL};{PHONE}"),
            f"[{people}]",
            f"\0{people}",
            f'"{EMAIL}',
        ):
            pathlib.Path(name).write_text(text)
            result = CliRunner().invoke(cli.cli, ["confirm", name, "--base-url", served.url])
            seen.add("standard output", result.stdout)
            seen.add("standard error", result.stderr)

            assert 2 == result.exit_code
        assert [name] == sorted(modes())


# Of idempotency keys, or what is said of a credential that is not given.
ALLOWED = {"idempotency_key", "keys", "max_key_age", "nmi_payment_token", "rotated_key"}


class TestPage:
    """What SECURITY.md builds on."""

    def test_no_command_takes_a_credential(self) -> None:
        """No option of a command that talks to a vendor is one: it would show among processes."""
        assert isinstance(cli.cli, click.Group)
        takers = {
            name
            for name, command in cli.cli.commands.items()
            for option in command.params
            if re.search("key|token|secret|password", option.name or "")
            and option.name not in ALLOWED
        }

        assert {"sandbox"} == takers

    def test_every_test_that_it_names_is_there(self) -> None:
        """A threat that is said to be met points to the tests that show it."""
        tests = pathlib.Path(__file__).parent
        page = (tests.parent / "SECURITY.md").read_text(encoding="utf-8")
        named = set(re.findall(r"`(test_\w+\.py)`", page))

        assert 20 <= len(named)
        assert [] == sorted(name for name in named if not (tests / name).is_file())


class TestControl:
    """The search finds what is there."""

    def test_locals(self) -> None:
        """A local variable of a library's frame is found, and the text of an error."""
        looked = Seen()
        with pytest.raises(ValueError, match="IPv4") as caught:
            ipaddress.ip_address(EMAIL)
        with pytest.raises(json.JSONDecodeError) as without_text:
            json.loads(f'["{PHONE}"')
        looked.add_error(caught.value)
        looked.add_error(without_text.value)

        assert {EMAIL, PHONE} == {secret for _, secret in looked.planted()}

    def test_log(self, caplog: pytest.LogCaptureFixture) -> None:
        """So is an argument of a line in the log."""
        logging.getLogger("aiohttp.client").warning("failed: %s", {"token": TOKEN})
        looked = Seen()
        looked.add_log(caplog.records)

        assert {TOKEN} == {secret for _, secret in looked.planted()}

    async def test_bare_aiohttp(self) -> None:
        """So is the key in an error of bare aiohttp."""
        looked = Seen()
        async with RawServer(says(b"junk\r\n\r\n")) as server, aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                await session.post(server.url, headers={"cv-api-key": KEY})
        looked.add_error(caught.value)

        assert KEY in {secret for _, secret in looked.planted()}
