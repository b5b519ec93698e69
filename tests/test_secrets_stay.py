"""
What must not be seen is planted everywhere, and looked for wherever an error can be looked at: in
its text, in its traceback with all local variables, in the log of every library, in what hooks get.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
import pathlib
import socket
import traceback
from collections.abc import Callable, Coroutine, Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import aiohttp
import attrs
import pytest

from calls import CASE, settle
from carevalidate_async import (
    CareValidate,
    CareValidateError,
    CasePaymentRequest,
    ConfigurationError,
    InvalidRequestError,
    PaymentConfirmation,
    PaymentIntentMetadata,
    PaymentIntentRequest,
    RetryPolicy,
    ShippingAddress,
    UserPaymentUpdate,
)
from carevalidate_async.planocore import PaymentMethodUpdate, Planocore
from raw_server import RawServer, Step, answers, breaks_off, http, resets, says, self_signed, silent

if TYPE_CHECKING:
    from carevalidate_async.hooks import Event

HERE = str(pathlib.Path(__file__).parent)
LOGGERS = ("", "carevalidate_async", "aiohttp", "aiohttp.client", "asyncio")

KEY = "canary-api-key"
TOKEN = "canary-plano-token"
EMAIL = "canary.mail@example.com"
PHONE = "+1 (202) 555-0177"
DESCRIPTION = "canary description"
SETUP = "seti_canary"
NMI = "nmi-canary-token"
STREET = "7 Canary Wharf"
CITY = "Canaryville"
POSTAL = "20577-1234"
OWNER = "Canary Q Public"
PROXY_PASSWORD = "canary-proxy-password"
COOKIE = "canary-cookie"
INTENT_SECRET = "pi_canary_secret_canary"
DIGITS = "2025550177"
PLANTED = (
    KEY,
    TOKEN,
    EMAIL,
    PHONE,
    DESCRIPTION,
    SETUP,
    NMI,
    STREET,
    CITY,
    POSTAL,
    OWNER,
    PROXY_PASSWORD,
    COOKIE,
    INTENT_SECRET,
    DIGITS,
)
Ask = Callable[[Any], Coroutine[Any, Any, Any]]


def confirm(client: CareValidate) -> Coroutine[Any, Any, Any]:
    return client.confirm_payment(
        PaymentConfirmation(
            case_id="case-1",
            amount=Decimal(1),
            payment_date=date(2025, 1, 1),
            valid_until=date(2025, 1, 1),
            status="PAID",
            email=EMAIL,
            phone_number=PHONE,
            description=DESCRIPTION,
        )
    )


def pay_case(client: CareValidate) -> Coroutine[Any, Any, Any]:
    request = CasePaymentRequest(amount=Decimal(1), description=DESCRIPTION)
    return client.create_case_payment(CASE, request)


def intend(client: CareValidate) -> Coroutine[Any, Any, Any]:
    metadata = PaymentIntentMetadata(email=EMAIL, phone=PHONE)
    return client.create_payment_intent(PaymentIntentRequest(amount=Decimal(1), metadata=metadata))


def update_user(client: CareValidate) -> Coroutine[Any, Any, Any]:
    address = ShippingAddress(
        address_line1=STREET, city=CITY, state="DC", country="US", postal_code=POSTAL
    )
    return client.update_user_payment(
        UserPaymentUpdate(
            email=EMAIL, stripe_setup_id=SETUP, nmi_payment_token=NMI, shipping_address=address
        )
    )


def update_method(client: Planocore) -> Coroutine[Any, Any, Any]:
    update = PaymentMethodUpdate(
        name_on_card=OWNER, street=STREET, street2=STREET, city=CITY, postal_code=POSTAL
    )
    return client.update_payment_method(42, update)


ASKS: tuple[Ask, ...] = (confirm, pay_case, intend, update_user, update_method)


def shown(value: object) -> str:
    """Return the repr of *value*, which may be in the making still."""
    try:
        return repr(value)
    except AttributeError as error:
        return repr(error)


@attrs.define
class Seen:
    """Everything that could be looked at, as text with the place that it stood in."""

    texts: list[tuple[str, str]] = attrs.Factory(list)

    def add(self, place: str, text: object) -> None:
        self.texts.append((place, text if isinstance(text, str) else repr(text)))

    def add_error(self, error: BaseException) -> None:
        """Take in *error*, what led to it, and every frame of theirs with its local variables."""
        one: BaseException | None
        found: list[BaseException | None] = [error]
        met: set[int] = set()
        while found:
            one = found.pop()
            if one is None or id(one) in met:
                continue
            met.add(id(one))
            self.add(f"str of {type(one).__name__}", str(one))
            self.add(f"repr of {type(one).__name__}", repr(one))
            self.add(f"args of {type(one).__name__}", repr(one.args))
            if isinstance(one, CareValidateError):
                self.add("attempts", repr(one.attempts))
            found += [one.__cause__, one.__context__]
            for frame, line in traceback.walk_tb(one.__traceback__):
                name = frame.f_code.co_filename
                if not name.startswith(HERE):
                    for variable, value in frame.f_locals.items():
                        self.add(f"{name}:{line} {variable}", shown(value))

    def add_log(self, records: list[logging.LogRecord]) -> None:
        for record in records:
            self.add(f"log of {record.name}", record.getMessage())
            self.add(f"arguments of a log of {record.name}", repr(record.args))
            if record.exc_info and record.exc_info[1]:
                self.add_error(record.exc_info[1])

    def planted(self) -> list[tuple[str, str]]:
        """Return what should not have been found, and where."""
        return [
            (place, secret)
            for place, text in self.texts
            for secret in PLANTED
            if secret.lower() in text.lower()
        ]


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Iterator[Seen]:
    """Looks everywhere, at the end into the logs too, and finds nothing."""
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, name)
    looked = Seen()
    yield looked
    looked.add_log(caplog.records)
    assert looked.texts
    assert [] == looked.planted()


async def ask(how: Ask, url: str, seen: Seen, **options: Any) -> BaseException | None:
    """Make a call, looking at all that can be seen of it; return its error."""
    asyncio.get_running_loop().slow_callback_duration = 0.0

    def hook(event: Event) -> None:
        seen.add("event", event)
        raise LookupError

    vendor: type[CareValidate | Planocore] = Planocore if how is update_method else CareValidate
    options = {
        "retry": RetryPolicy(max_attempts=2, base_delay=0),
        "attempt_timeout": 0.4,
        "hooks": [hook],
        **options,
    }
    async with vendor(TOKEN if vendor is Planocore else KEY, base_url=url, **options) as client:
        seen.add("client", client)
        seen.add("session", client._session)
        try:
            answer = await how(client)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is looked at
            seen.add_error(error)
            return error
        seen.add("answer", answer)
        seen.add("meta", answer.meta)
        return None


# What a vendor could say of a request, in the worst case: all that it holds.
HELD: dict[Ask, str] = {
    confirm: f"{KEY} {EMAIL} {PHONE} {DIGITS} {DESCRIPTION}",
    pay_case: f"{KEY} {DESCRIPTION}",
    intend: f"{KEY} {EMAIL} {PHONE} {DIGITS}",
    update_user: f"{KEY} {EMAIL} {SETUP} {NMI} {STREET} {CITY} {POSTAL}",
    update_method: f"{TOKEN} {OWNER} {STREET} {CITY} {POSTAL}",
}
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


@pytest.mark.parametrize("how", ASKS)
class TestErrors:
    @pytest.mark.parametrize("fault", FAULTS)
    async def test_of_an_answer(self, seen: Seen, fault: str, how: Ask) -> None:
        """However a vendor answers, and however much it tells, errors and logs keep it."""
        async with RawServer(*[FAULTS[fault](HELD[how])] * 2) as server:
            error = await ask(how, server.url, seen)

        assert isinstance(error, CareValidateError)
        # They were there to be seen.
        assert (KEY if how is not update_method else TOKEN) in str(server.requests[0])

    async def test_of_no_connection(self, seen: Seen, how: Ask) -> None:
        """Where there is no connection there is nothing to be seen either."""
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        error = await ask(how, f"http://127.0.0.1:{port}", seen)

        assert isinstance(error, CareValidateError)
        assert isinstance(error.__cause__, ConnectionRefusedError)

    async def test_of_tls(self, seen: Seen, how: Ask) -> None:
        """Nor is there where the server is not trusted."""
        async with RawServer(tls=self_signed()) as server:
            error = await ask(how, server.url, seen, attempt_timeout=2)

        assert isinstance(error, CareValidateError)
        assert "certificate" in str(error.__cause__)

    @pytest.mark.parametrize("answer", [None, 407, 502])
    async def test_of_a_proxy(self, seen: Seen, how: Ask, answer: int | None) -> None:
        """Nor is the proxy's password, whether the proxy is there or not."""
        step: Step = answers(answer or 200, HELD[how].encode())
        async with RawServer(step, step) as server:
            if answer is None:
                server.close_all()
            address = server.url.removeprefix("http://") if answer else "127.0.0.1:1"
            proxy = f"http://user:{PROXY_PASSWORD}@{address}"
            error = await ask(how, "https://vendor.example", seen, proxy=proxy)

        assert isinstance(error, CareValidateError)

    async def test_of_a_full_pool(self, seen: Seen, how: Ask) -> None:
        """Nor is what was in the queue."""
        vendor = Planocore if how is update_method else CareValidate
        async with (
            RawServer(silent, silent) as server,
            vendor(TOKEN, base_url=server.url, max_connections=1, deadline=0.05) as client,
        ):
            tasks = [asyncio.create_task(how(client)) for _ in range(2)]
            done = await asyncio.gather(*tasks, return_exceptions=True)
        for error in done:
            assert isinstance(error, CareValidateError)
            seen.add_error(error)

    @pytest.mark.parametrize("fault", ["silence", "500"])
    async def test_of_a_cancelled_call(self, seen: Seen, fault: str, how: Ask) -> None:
        """Nor is there in the traceback of a cancellation, on the wire or between attempts."""
        patient = RetryPolicy(max_attempts=2, base_delay=10**9, max_delay=10**9)
        async with RawServer(FAULTS[fault](HELD[how])) as server:
            task = asyncio.create_task(
                ask(how, server.url, seen, attempt_timeout=9, deadline=None, retry=patient)
            )
            await settle()
            task.cancel()
            error = await task

        if how is intend and fault == "500":  # never repeated, so over before
            assert isinstance(error, CareValidateError)
        else:
            assert isinstance(error, asyncio.CancelledError)

    async def test_of_a_call_that_is_cancelled_in_its_answer(self, seen: Seen, how: Ask) -> None:
        """Nor are the vendor's cookies there, once the head of the answer has come."""
        head = f"HTTP/1.1 200 OK\r\nSet-Cookie: session={COOKIE}\r\nContent-Length: 100\r\n\r\n{{"
        async with RawServer(says(head.encode())) as server:
            task = asyncio.create_task(ask(how, server.url, seen, attempt_timeout=9, deadline=None))
            await server.arrived(1)
            await settle()
            task.cancel()

            assert isinstance(await task, asyncio.CancelledError)

    async def test_of_a_closed_client(self, seen: Seen, how: Ask) -> None:
        """Nor is there where the client is closed."""
        vendor = Planocore if how is update_method else CareValidate
        client = vendor(KEY, base_url="http://127.0.0.1:9")
        await client.aclose()
        with pytest.raises(CareValidateError) as caught:
            await how(client)

        seen.add_error(caught.value)

    async def test_of_success(self, seen: Seen, how: Ask) -> None:
        """Nor is there where all goes well: an answer does not show what it holds."""
        async with RawServer() as server:
            if how is intend:
                data = {"success": True, "data": {"paymentIntentSecret": INTENT_SECRET}}
                server.script.append(answers(200, data))
            if how is update_method:
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
