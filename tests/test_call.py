from __future__ import annotations

import asyncio
import logging
import pickle
from collections.abc import Awaitable, Callable
from email.utils import formatdate
from time import time as wall_clock
from typing import TYPE_CHECKING, Any, Never
from unittest.mock import Mock

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calls import (
    AT_ONCE,
    CALLS,
    CASE_PAYMENT,
    CONFIRM,
    INTEND,
    INTENT,
    METHOD,
    PAY_CASE,
    PAYMENT,
    UPDATE_METHOD,
    UPDATE_USER,
    USER,
    Calling,
    Time,
)
from carevalidate_async import (
    AnswerLostError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    ClientClosedError,
    ConfigurationError,
    ConflictError,
    GaveUp,
    IdempotencyConflictError,
    InternalServerError,
    Outcome,
    RateLimitError,
    ResponseDecodeError,
    RetryPolicy,
    RetryQuota,
    _call,
)
from carevalidate_async._config import Settings
from carevalidate_async._operation import KeyInBody
from carevalidate_async._secret import Secret
from carevalidate_async._transport import Transport
from carevalidate_async._wire import NoReply, Reply, Sealed
from carevalidate_async.hooks import AttemptEnded, CallEnded, CallStarted, Event
from carevalidate_async.session import Session
from raw_server import ON_RECORD, good, http

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carevalidate_async.models import Answer

Noting = Callable[[], None]
Attempting = Callable[[Noting, Noting], Awaitable[Reply | NoReply]]

REQUESTS: Mapping[str, object] = {
    "confirm_payment": PAYMENT,
    "create_case_payment": CASE_PAYMENT,
    "create_payment_intent": INTENT,
    "update_user_payment": USER,
    "update_payment_method": METHOD,
}


def reply(status: int, body: bytes | dict[str, Any] = b"", **headers: str) -> Reply:
    """Return an answer; in a header's name ``_`` stands for ``-``."""
    content = http(status, body).partition(b"\r\n\r\n")[2]
    spelled = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status=status, headers=spelled, body=content)


@attrs.frozen(kw_only=True)
class Happening:
    """
    What one attempt can meet.

    Attributes:
        got: What the transport returns.

        sent: Whether anything may have left.

        may_land: Whether the vendor may have carried the request out, though it does not say so.

        passes: Whether another try can help.
    """

    got: Reply | NoReply
    sent: bool = True
    may_land: bool = False
    passes: bool = False


def no(message: str) -> dict[str, Any]:
    return {"success": False, "message": message}


HAPPENINGS: Mapping[str, Happening] = {
    "refused": Happening(got=NoReply(what="no connection", sent=False), sent=False, passes=True),
    "queued": Happening(
        got=NoReply(what="no free connection", sent=False, timed_out=True), sent=False, passes=True
    ),
    "bad tls": Happening(got=NoReply(what="TLS", sent=False, transient=False), sent=False),
    "lost": Happening(got=NoReply(what="lost", sent=True), may_land=True, passes=True),
    "slow": Happening(
        got=NoReply(what="no answer in time", sent=True, timed_out=True), may_land=True, passes=True
    ),
    "a bug": Happening(got=NoReply(what="lost", sent=True, transient=False), may_land=True),
    "half": Happening(got=reply(200, b'{"success": tr'), may_land=True, passes=True),
    "html": Happening(got=reply(200, b"<html>Welcome</html>"), may_land=True, passes=True),
    "moved": Happening(got=reply(302, location="/"), may_land=True),
    "400": Happening(got=reply(400, no("bad"))),
    "401": Happening(got=reply(401, {"status": 401, "error": "Unauthorized"})),
    "404": Happening(got=reply(404, no("where?"))),
    "408": Happening(got=reply(408), may_land=True, passes=True),
    "409": Happening(got=reply(409, no("busy")), may_land=True),
    "429": Happening(got=reply(429, no("slower")), passes=True),
    "500": Happening(got=reply(500, no("oops")), may_land=True, passes=True),
    "501": Happening(got=reply(501), may_land=True),
    "503": Happening(got=reply(503, b"<html>", retry_after="0"), may_land=True, passes=True),
    "on record": Happening(got=reply(409, ON_RECORD)),
}


class Scripted(Transport):
    """Gives what it is told to, and keeps what it is given."""

    def __init__(self, *script: Reply | NoReply | Exception | Attempting) -> None:
        super().__init__(session=None, connector=None, max_connections=1, proxy=None, ssl=True)
        self.script = list(script)
        self.sent: list[Sealed] = []
        self.limits: list[tuple[float, float | None]] = []

    async def send(
        self,
        sealed: Sealed,
        *,
        attempt_timeout: float,
        deadline: float | None,
        on_turn: Noting,
        on_wire: Noting,
    ) -> Reply | NoReply:
        self.sent.append(sealed)
        self.limits.append((attempt_timeout, deadline))
        got = self.script.pop(0)
        if callable(got):
            return await got(on_turn, on_wire)
        on_turn()
        if isinstance(got, Exception):
            raise got
        return got


class Stuck(Scripted):
    """Gives what it is told to, and then nothing any more: it hangs at a certain place."""

    def __init__(self, *script: Reply | NoReply, where: str) -> None:
        super().__init__(*script)
        self.where = where
        self.stuck = asyncio.Event()

    async def rest(self, seconds: float) -> None:
        if self.where == "delay" and not self.script:
            await self.hang()
        await super().rest(seconds)

    async def hang(self) -> Never:
        self.stuck.set()
        await asyncio.Event().wait()
        raise AssertionError


def stuck(*names: str, where: str) -> Stuck:
    """Return what hangs after *names*: in the delay, in the queue, connecting or on the wire."""
    transport = Stuck(*(got(CONFIRM, name) for name in names), where=where)

    async def hangs(on_turn: Noting, on_wire: Noting) -> Reply | NoReply:
        if where in {"connecting", "wire"}:
            on_turn()
        if where == "wire":
            on_wire()
        await transport.hang()

    if where != "delay":
        transport.script.append(hangs)
    return transport


def takes(time: Time, queued: float, lasts: float, got: Reply | NoReply) -> Attempting:
    """Wait so many seconds for a connection, and then so many for *got*."""

    async def attempt(on_turn: Noting, on_wire: Noting) -> Reply | NoReply:
        time.now += queued
        on_turn()
        on_wire()
        time.now += lasts
        return got

    return attempt


def queues(time: Time, seconds: float) -> Attempting:
    """Wait so many seconds for a connection, in vain."""

    async def attempt(_on_turn: Noting, _on_wire: Noting) -> Reply | NoReply:
        time.now += seconds
        return HAPPENINGS["queued"].got

    return attempt


def closing(got: Reply | NoReply | Exception) -> Scripted:
    """Return what is closed while the attempt is under way that ends with *got*."""
    transport = Scripted()

    async def attempt(on_turn: Noting, _on_wire: Noting) -> Reply | NoReply:
        on_turn()
        await transport.aclose()
        if isinstance(got, Exception):
            raise got
        return got

    transport.script.append(attempt)
    return transport


def got(calling: Calling, name: str) -> Reply | NoReply:
    """Return what the transport of *calling* returns when *name* happens."""
    if name == "ok":
        path = calling.operation.path
        return reply(200, good(path).partition(b"\r\n\r\n")[2])
    return HAPPENINGS[name].got


async def run(
    calling: Calling,
    transport: Transport,
    *,
    accept_duplicate: bool = False,
    retry: RetryPolicy = AT_ONCE,
    deadline: float | None = None,
    hooks: tuple[Callable[[Event], None], ...] = (),
    quota: RetryQuota | None = None,
) -> Answer:
    """Make the call over *transport*."""
    session = Session(
        origin="http://127.0.0.1",
        secret=Secret("test"),
        transport=transport,
        settings=Settings(retry=retry, deadline=deadline, hooks=hooks),
        quota=quota,
    )
    answer: Answer = await session.run(
        calling.operation,
        REQUESTS[calling.operation.name],
        path={"case_id": "c"},
        fields={"id": 42} if calling is UPDATE_METHOD else {},
        accept_duplicate=accept_duplicate,
    )
    return answer


async def fails(calling: Calling, *names: str, **options: Any) -> CareValidateError:
    """Return the error of a call to which *names* happen, and nothing else."""
    transport = Scripted(*(got(calling, name) for name in names))
    with pytest.raises(CareValidateError) as caught:
        await run(calling, transport, **options)
    assert [] == transport.script
    return caught.value


async def works(calling: Calling, *names: str, **options: Any) -> Answer:
    """Return the answer of a call to which *names* happen, and nothing else."""
    transport = Scripted(*(got(calling, name) for name in names))
    answer = await run(calling, transport, **options)
    assert [] == transport.script
    return answer


NOT_SENT, REJECTED, RECORDED, UNKNOWN = Outcome


class TestOutcome:
    """The outcome is that of the whole call."""

    @pytest.mark.parametrize(
        ("names", "kind", "outcome", "retryable"),
        [
            # One attempt.
            (["on record"], IdempotencyConflictError, RECORDED, False),
            (["moved"], APIStatusError, UNKNOWN, False),
            (["bad tls"], APIConnectionError, NOT_SENT, False),
            (["a bug"], AnswerLostError, UNKNOWN, False),
            (["400"], BadRequestError, REJECTED, False),
            (["401"], AuthenticationError, REJECTED, False),
            (["409"], ConflictError, UNKNOWN, False),
            (["501"], InternalServerError, UNKNOWN, False),
            # The same four times.
            (["refused"] * 4, APIConnectionError, NOT_SENT, True),
            (["queued"] * 4, APITimeoutError, NOT_SENT, True),
            (["lost"] * 4, AnswerLostError, UNKNOWN, True),
            (["slow"] * 4, APITimeoutError, UNKNOWN, True),
            (["half"] * 4, ResponseDecodeError, UNKNOWN, True),
            (["html"] * 4, ResponseDecodeError, UNKNOWN, True),
            (["408"] * 4, APIStatusError, UNKNOWN, True),
            (["429"] * 4, RateLimitError, REJECTED, True),
            (["503"] * 4, InternalServerError, UNKNOWN, True),
            # One that may have landed, then a sure no: of the second one, not of the first.
            (["slow", "401"], AuthenticationError, UNKNOWN, False),
            (["lost", "400"], BadRequestError, UNKNOWN, False),
            (["500", "404"], CareValidateError, UNKNOWN, False),
            (["half", "429", "429", "429"], RateLimitError, UNKNOWN, True),
            (["lost", "refused", "refused", "refused"], APIConnectionError, UNKNOWN, True),
            (["refused", "lost", "queued", "refused"], APIConnectionError, UNKNOWN, True),
            (["lost", "bad tls"], APIConnectionError, UNKNOWN, False),
            (["lost", "409"], ConflictError, UNKNOWN, False),
            # None that may have landed before.
            (["refused", "401"], AuthenticationError, REJECTED, False),
            (["429", "401"], AuthenticationError, REJECTED, False),
            (["429", "429", "429", "refused"], APIConnectionError, REJECTED, True),
            # On record, and not by this call.
            (["refused", "on record"], IdempotencyConflictError, RECORDED, False),
            (["429", "on record"], IdempotencyConflictError, RECORDED, False),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, list) else None,
    )
    @pytest.mark.parametrize("calling", [CONFIRM, PAY_CASE], ids=repr)
    async def test_with_a_key(
        self,
        calling: Calling,
        names: list[str],
        kind: type[CareValidateError],
        outcome: Outcome,
        retryable: bool,
    ) -> None:
        """With a key, what may have landed stays unknown until a later attempt settles it."""
        error = await fails(calling, *names)

        assert isinstance(error, kind)
        assert (outcome, retryable) == (error.outcome, error.retryable)
        assert len(names) == len(error.attempts)
        assert error.idempotency_key is not None

    @pytest.mark.parametrize("landed", ["lost", "slow", "half", "html", "500", "503", "408"])
    @pytest.mark.parametrize("between", [[], ["refused"], ["429"]])
    async def test_confirmation_that_landed_is_success(
        self, landed: str, between: list[str]
    ) -> None:
        """A confirmation that is on record by an earlier attempt of the call is a success."""
        answer = await works(CONFIRM, landed, *between, "on record")

        assert (True, 409) == (answer.meta.already_recorded, answer.meta.status)
        assert ("already recorded", RECORDED, 409) == (
            answer.meta.attempts[-1].happened,
            answer.meta.attempts[-1].outcome,
            answer.meta.attempts[-1].status,
        )

    @pytest.mark.parametrize("landed", ["lost", "slow", "half", "html", "500", "503", "408"])
    async def test_case_payment_that_landed_is_recorded(self, landed: str) -> None:
        """A case payment that landed is on record, but its id is lost: an error that says so."""
        error = await fails(PAY_CASE, landed, "on record")

        assert isinstance(error, IdempotencyConflictError)
        assert (RECORDED, False) == (error.outcome, error.retryable)

    async def test_duplicate_is_accepted_when_told(self) -> None:
        """A record that was there before the call is a success for who expects it."""
        answer = await works(CONFIRM, "on record", accept_duplicate=True)

        assert answer.meta.already_recorded

    async def test_duplicate_of_a_case_payment_is_an_error_still(self) -> None:
        """Where the answer has more to tell, expecting the conflict does not make it a success."""
        error = await fails(PAY_CASE, "on record", accept_duplicate=True)

        assert isinstance(error, IdempotencyConflictError)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_success(self, calling: Calling) -> None:
        """A success is one attempt, and new."""
        answer = await works(calling, "ok")

        assert isinstance(answer, calling.operation.gives)
        assert (200, False) == (answer.meta.status, answer.meta.already_recorded)
        assert [("ok", RECORDED)] == [(a.happened, a.outcome) for a in answer.meta.attempts]

    @pytest.mark.parametrize("first", ["refused", "queued", "lost", "slow", "half", "500", "429"])
    @pytest.mark.parametrize("calling", [CONFIRM, PAY_CASE, UPDATE_USER, UPDATE_METHOD], ids=repr)
    async def test_success_after_failure(self, calling: Calling, first: str) -> None:
        """What passes is tried again, and a success settles what was unknown."""
        answer = await works(calling, first, "ok")

        assert (2, False) == (len(answer.meta.attempts), answer.meta.already_recorded)

    @pytest.mark.parametrize(
        ("names", "outcome", "retryable"),
        [
            (["lost"], UNKNOWN, False),
            (["slow"], UNKNOWN, False),
            (["half"], UNKNOWN, False),
            (["500"], UNKNOWN, False),
            (["503"], UNKNOWN, False),
            (["408"], UNKNOWN, False),
            (["moved"], UNKNOWN, False),
            (["400"], REJECTED, False),
            (["429"], REJECTED, True),
            (["refused", "lost"], UNKNOWN, False),
            (["queued", "429"], REJECTED, True),
            (["refused"] * 4, NOT_SENT, True),
        ],
        ids=lambda value: "-".join(value) if isinstance(value, list) else None,
    )
    async def test_without_a_key(self, names: list[str], outcome: Outcome, retryable: bool) -> None:
        """An intent is repeated only when it surely was not sent, nor is one told to repeat it."""
        error = await fails(INTEND, *names)

        assert (outcome, retryable) == (error.outcome, error.retryable)
        assert len(names) == len(error.attempts)
        assert error.idempotency_key is None

    @pytest.mark.parametrize("first", ["refused", "queued"])
    async def test_intent_that_was_not_sent(self, first: str) -> None:
        """An intent that surely was not sent is sent."""
        answer = await works(INTEND, first, "ok")

        assert 2 == len(answer.meta.attempts)

    @pytest.mark.parametrize("calling", [UPDATE_USER, UPDATE_METHOD], ids=repr)
    async def test_sets_state(self, calling: Calling) -> None:
        """What sets state is repeated like what has a key; asking again stays harmless."""
        error = await fails(calling, "lost", "500", "half", "slow")

        assert (UNKNOWN, True, None) == (error.outcome, error.retryable, error.idempotency_key)

    @given(
        calling=st.sampled_from(CALLS),
        names=st.lists(st.sampled_from(["ok", *HAPPENINGS]), min_size=4, max_size=4),
        accept=st.booleans(),
    )
    async def test_never_a_lie(self, calling: Calling, names: list[str], accept: bool) -> None:
        """
        Whatever happens, in whatever order, the call ends where the table of facts says, and its
        outcome claims nothing that an attempt has left open.
        """
        transport = Scripted(*(got(calling, name) for name in names))
        error: CareValidateError | None = None
        try:
            answer = await run(calling, transport, accept_duplicate=accept)
        except CareValidateError as caught:
            error, attempts = caught, caught.attempts
        else:
            attempts = answer.meta.attempts

        met = names[: len(attempts)]
        facts = [HAPPENINGS[name] for name in met if name != "ok"]
        assert len(met) == len(transport.sent)
        assert 1 == len({id(sealed) for sealed in transport.sent})
        repeatable = calling.operation.idempotency.repeatable
        for fact in facts[: len(met) - 1]:
            assert fact.passes
            assert repeatable or not fact.sent
        keyed = isinstance(calling.operation.idempotency, KeyInBody)
        open_questions = any(fact.may_land for fact in facts)
        open_questions |= "on record" in met and not keyed  # whose key?
        if error is None:
            conflict = calling is CONFIRM and met[-1] == "on record"
            assert met[-1] == "ok" or (conflict and (accept or open_questions))
        elif error.outcome is RECORDED:
            assert "on record" == met[-1]
            assert keyed
        elif open_questions:
            assert UNKNOWN is error.outcome
        else:
            assert (REJECTED if facts[-1].sent else NOT_SENT) is error.outcome
        if error is not None and error.outcome is UNKNOWN and not repeatable:
            assert not error.retryable


class TestAttempts:
    async def test_record(self) -> None:
        """Each attempt is on the error: its number, what happened, its status and outcome."""
        error = await fails(CONFIRM, "refused", "slow", "429", "401")

        assert [
            (1, "APIConnectionError", None, NOT_SENT, 0),
            (2, "APITimeoutError", None, UNKNOWN, 0),
            (3, "RateLimitError", 429, REJECTED, 0),
            (4, "AuthenticationError", 401, REJECTED, None),
        ] == [(a.number, a.happened, a.status, a.outcome, a.delay) for a in error.attempts]
        assert all(0 <= attempt.duration < 5 for attempt in error.attempts)

    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_same_bytes(self, calling: Calling) -> None:
        """Every attempt sends the very same sealed request."""
        transport = Scripted(*[HAPPENINGS["refused"].got] * 4)
        with pytest.raises(APIConnectionError):
            await run(calling, transport)

        assert 4 == len(transport.sent)
        assert all(sealed is transport.sent[0] for sealed in transport.sent)

    async def test_each_call_has_its_own_key(self) -> None:
        """Two calls with one request are two payments, unless the request brings its key."""
        transport = Scripted(*[got(CONFIRM, "ok")] * 2)
        first = await run(CONFIRM, transport)
        second = await run(CONFIRM, transport)

        assert first.meta.idempotency_key != second.meta.idempotency_key
        keys = [sealed.idempotency_key for sealed in transport.sent]
        assert [first.meta.idempotency_key, second.meta.idempotency_key] == keys

    async def test_meta(self) -> None:
        """A success tells its key, attempts, status, request id, headers and time."""
        answer = reply(200, {"success": True}, x_request_id="r-1", x_more="m")
        meta = (await run(CONFIRM, Scripted(HAPPENINGS["lost"].got, answer))).meta

        assert (2, 200, "r-1", False) == (
            len(meta.attempts),
            meta.status,
            meta.request_id,
            meta.already_recorded,
        )
        assert {"x-request-id": "r-1", "x-more": "m"} == meta.headers
        assert sum(attempt.duration for attempt in meta.attempts) <= meta.elapsed < 5

    @pytest.mark.parametrize("kind", [ClientClosedError, ConfigurationError])
    @pytest.mark.parametrize(("before", "outcome"), [("lost", UNKNOWN), ("refused", NOT_SENT)])
    async def test_transport_that_ends_in_the_middle(
        self, kind: type[CareValidateError], before: str, outcome: Outcome
    ) -> None:
        """When the client is closed between attempts, the error still speaks for the first."""
        transport = Scripted(HAPPENINGS[before].got, kind("the end"))
        with pytest.raises(kind) as caught:
            await run(CONFIRM, transport)

        assert outcome is caught.value.outcome
        assert 2 == len(caught.value.attempts)
        assert transport.sent[0].idempotency_key == caught.value.idempotency_key


class TestErrorText:
    async def test_without_an_answer(self) -> None:
        """It says which operation it was and what happened, and the error keeps its cause."""
        cause = OSError("reset")
        lost = NoReply(what="cut off", sent=True, transient=False, cause=cause)
        with pytest.raises(AnswerLostError) as caught:
            await run(CONFIRM, Scripted(lost))

        assert "confirm_payment: cut off" == caught.value.summary
        assert cause is caught.value.__cause__

    async def test_private_texts_are_left_out(self) -> None:
        """What the request keeps to itself is not told, though the vendor repeats it."""
        transport = Scripted(reply(400, no("nobody ships to 1600 Pennsylvania Avenue NW")))
        with pytest.raises(BadRequestError) as caught:
            await run(UPDATE_USER, transport)

        assert "nobody ships to [hidden]" in str(caught.value)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    """The clock of every call, which moves only when one of them sleeps."""
    fake = Time()
    monkeypatch.setattr(_call, "Clock", lambda **_: fake.clock())
    monkeypatch.setattr(_call, "loop_time", lambda: fake.clock().now)
    return fake


class TestDelays:
    async def test_recorded(self, time: Time) -> None:
        """The delays that were waited are on the attempts before them."""
        error = await fails(CONFIRM, *["lost"] * 4, retry=RetryPolicy(base_delay=1))

        assert [1, 2, 4, None] == [attempt.delay for attempt in error.attempts]
        assert [1, 2, 4] == time.slept

    @pytest.mark.parametrize("status", [429, 503])
    @pytest.mark.parametrize(("asked", "slept"), [("30", 31), ("0.5", 1.5), ("soon", 1)])
    async def test_retry_after(self, time: Time, status: int, asked: str, slept: float) -> None:
        """A Retry-After is obeyed, and our own delay comes on top."""
        transport = Scripted(reply(status, retry_after=asked), got(CONFIRM, "ok"))
        answer = await run(CONFIRM, transport, retry=RetryPolicy(base_delay=1))

        assert [slept] == time.slept
        assert [slept, None] == [attempt.delay for attempt in answer.meta.attempts]

    @pytest.mark.parametrize(("limit", "deadline"), [(60, None), (3600, 61), (3600, 60)])
    async def test_retry_after_that_is_too_long(
        self, time: Time, limit: float, deadline: float | None
    ) -> None:
        """A Retry-After over the cap, or past the deadline, is raised at once with its value."""
        transport = Scripted(reply(429, no("later"), retry_after="61"))
        with pytest.raises(RateLimitError) as caught:
            await run(
                CONFIRM, transport, retry=RetryPolicy(max_retry_after=limit), deadline=deadline
            )

        error = caught.value
        assert (61, True, REJECTED) == (error.retry_after, error.retryable, error.outcome)
        assert [None] == [attempt.delay for attempt in error.attempts]
        assert [] == time.slept

    async def test_too_long_after_one_that_may_have_landed(self, time: Time) -> None:
        """It does not hide that an earlier attempt may have landed."""
        transport = Scripted(HAPPENINGS["lost"].got, reply(429, retry_after="61"))
        with pytest.raises(RateLimitError) as caught:
            await run(CONFIRM, transport)

        assert (61, UNKNOWN) == (caught.value.retry_after, caught.value.outcome)

    async def test_deadline_in_backoff(self, time: Time) -> None:
        """A delay that leads past the deadline is not begun: what is known is raised at once."""
        error = await fails(
            CONFIRM, "refused", "refused", retry=RetryPolicy(base_delay=4), deadline=10
        )

        assert [4] == time.slept
        assert NOT_SENT is error.outcome
        assert [4, None] == [attempt.delay for attempt in error.attempts]


class TestElapsed:
    async def test_of_the_end(self, time: Time) -> None:
        """The end of a call says how long it was, delays included."""
        events: list[Event] = []
        await fails(CONFIRM, *["lost"] * 4, retry=RetryPolicy(base_delay=1), hooks=(events.append,))

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert 1 + 2 + 4 == ended.elapsed


class TestTrouble:
    """What goes wrong in the caller's own code changes nothing of what is said."""

    @pytest.mark.parametrize("name", ["401", "ok"])
    async def test_in_a_filter_of_the_log(self, name: str) -> None:
        """A filter of the log that fails is not heard of."""
        logger = logging.getLogger("carevalidate_async")
        before = logger.level

        def broken(_: logging.LogRecord) -> bool:
            raise LookupError

        logger.addFilter(broken)
        logger.setLevel(logging.DEBUG)
        try:
            if name == "ok":
                await works(CONFIRM, name)
            else:
                assert REJECTED is (await fails(CONFIRM, name)).outcome
        finally:
            logger.removeFilter(broken)
            logger.setLevel(before)

    @pytest.mark.parametrize(
        ("name", "kind", "outcome", "attempts"),
        [
            ("401", CallStarted, NOT_SENT, 0),
            ("401", AttemptEnded, REJECTED, 1),
            ("503", AttemptEnded, UNKNOWN, 1),
            ("ok", AttemptEnded, RECORDED, 1),
        ],
    )
    async def test_exit_in_a_hook(
        self, name: str, kind: type[Event], outcome: Outcome, attempts: int
    ) -> None:
        """A program that exits in a hook is told the truth by the others all the same."""
        events: list[Event] = []

        def leave(event: Event) -> None:
            if isinstance(event, kind):
                raise SystemExit

        transport = Scripted(got(CONFIRM, name))
        with pytest.raises(SystemExit):
            await run(CONFIRM, transport, hooks=(events.append, leave))

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert (outcome, attempts) == (ended.outcome, len(ended.attempts))

    async def test_retry_after_a_date(self) -> None:
        """A Retry-After that is a date is told in seconds from now."""
        date = formatdate(wall_clock() + 30, usegmt=True)
        with pytest.raises(RateLimitError) as caught:
            await run(CONFIRM, Scripted(reply(429, no("later"), retry_after=date)))

        assert caught.value.retry_after is not None
        assert 20 < caught.value.retry_after <= 30


class TestTime:
    async def test_of_an_attempt(self, time: Time) -> None:
        """An attempt tells how long it waited for a connection, and how long it took from there."""
        transport = Scripted(
            takes(time, 3, 2, HAPPENINGS["lost"].got), takes(time, 1, 4, got(CONFIRM, "ok"))
        )
        meta = (await run(CONFIRM, transport)).meta

        assert [(3, 2), (1, 4)] == [(each.queued, each.duration) for each in meta.attempts]

    async def test_of_an_attempt_without_a_connection(self, time: Time) -> None:
        """An attempt that waits for a connection in vain spends all of its time in that."""
        transport = Scripted(
            takes(time, 3, 2, HAPPENINGS["lost"].got),
            queues(time, 5),
            takes(time, 0, 1, got(CONFIRM, "ok")),
        )
        meta = (await run(CONFIRM, transport)).meta

        waited = [(each.queued, each.duration) for each in meta.attempts]
        assert [(3, 2), (5, 0), (0, 1)] == waited

    async def test_of_the_call(self, time: Time) -> None:
        """A call takes as long as its attempts, their waits and the delays between them."""
        events: list[Event] = []
        transport = Scripted(
            takes(time, 3, 2, HAPPENINGS["lost"].got), takes(time, 1, 4, got(CONFIRM, "ok"))
        )
        answer = await run(
            CONFIRM, transport, retry=RetryPolicy(base_delay=7), hooks=(events.append,)
        )

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert (17, 17) == (answer.meta.elapsed, ended.elapsed)

    async def test_limits(self, time: Time) -> None:
        """Each attempt has half a minute of its own, and all have one moment to end at."""
        transport = Scripted(HAPPENINGS["lost"].got, got(CONFIRM, "ok"))
        await run(CONFIRM, transport, retry=RetryPolicy(base_delay=1), deadline=60)

        assert [(30, 1060), (30, 1060)] == transport.limits


class TestGaveUp:
    @pytest.mark.parametrize(
        ("calling", "names", "reason"),
        [
            (CONFIRM, ["400"], GaveUp.FINAL),
            (CONFIRM, ["lost", "401"], GaveUp.FINAL),
            (CONFIRM, ["bad tls"], GaveUp.FINAL),
            (CONFIRM, ["lost"] * 4, GaveUp.MAX_ATTEMPTS),
            (INTEND, ["lost"], GaveUp.UNSAFE),
            (INTEND, ["429"], GaveUp.UNSAFE),
            (INTEND, ["refused"] * 4, GaveUp.MAX_ATTEMPTS),
            (INTEND, ["400"], GaveUp.FINAL),
            (PAY_CASE, ["lost", "on record"], GaveUp.FINAL),
        ],
    )
    async def test_reason(self, calling: Calling, names: list[str], reason: GaveUp) -> None:
        """An error says why there was no further try, and its text says so too."""
        error = await fails(calling, *names)

        assert reason is error.gave_up
        assert f"gave up: {reason}" in str(error)
        assert reason is pickle.loads(pickle.dumps(error)).gave_up  # noqa: S301 - of our own making

    @pytest.mark.parametrize(
        ("calling", "met", "reason"),
        [
            (CONFIRM, "lost", GaveUp.CLOSED),
            (CONFIRM, "429", GaveUp.CLOSED),
            (INTEND, "refused", GaveUp.CLOSED),
            (CONFIRM, ClientClosedError("closed"), GaveUp.CLOSED),
            # There would have been no other try anyway.
            (CONFIRM, "401", GaveUp.FINAL),
            (CONFIRM, ConfigurationError("no"), GaveUp.FINAL),
            (INTEND, "lost", GaveUp.UNSAFE),
        ],
    )
    async def test_closed_meanwhile(
        self, calling: Calling, met: str | Exception, reason: GaveUp
    ) -> None:
        """Of a client that is closed in the midst of an attempt, that is why there is no other."""
        transport = closing(met if isinstance(met, Exception) else got(calling, met))
        with pytest.raises(CareValidateError) as caught:
            await run(calling, transport)

        assert reason is caught.value.gave_up
        assert 1 == len(caught.value.attempts)


class TestQuota:
    @pytest.mark.parametrize(
        ("name", "tokens"),
        [
            # A clear answer.
            ("ok", 96),
            ("400", 96),
            ("401", 96),
            ("404", 96),
            ("on record", 96),
            # None, or not a clear one.
            ("refused", 95),
            ("bad tls", 95),
            ("lost", 95),
            ("a bug", 95),
            ("half", 95),
            ("moved", 95),
            ("409", 95),
            ("501", 95),
            ("503", 95),
            # Clear, and a vendor that has too much to do.
            ("429", 95),
        ],
    )
    async def test_clear_answers_earn(self, name: str, tokens: int) -> None:
        """A first try brings a token if the vendor has given a clear answer, yes or no."""
        quota = RetryQuota(100)
        quota.take(timed_out=False)
        transport = Scripted(got(CONFIRM, name))
        try:
            await run(CONFIRM, transport, retry=RetryPolicy(max_attempts=1), quota=quota)
        except CareValidateError:
            assert name != "ok"

        assert tokens == quota.tokens

    @pytest.mark.parametrize(
        ("name", "tokens"), [("lost", 95), ("503", 95), ("429", 95), ("slow", 90), ("queued", 90)]
    )
    async def test_retries_are_paid_for(self, name: str, tokens: int) -> None:
        """A retry is paid for, and more after a timeout than after any other failure."""
        quota = RetryQuota(100)
        await fails(CONFIRM, name, "refused", retry=RetryPolicy(max_attempts=2), quota=quota)

        assert tokens == quota.tokens

    async def test_retry_that_settles_is_free(self) -> None:
        """A retry that gets a clear answer gives back what it took."""
        quota = RetryQuota(100)
        await works(CONFIRM, "slow", "ok", quota=quota)

        assert 100 == quota.tokens


class TestCancelled:
    @pytest.mark.parametrize(
        ("names", "where", "outcome"),
        [
            ([], "queue", NOT_SENT),
            ([], "connecting", NOT_SENT),
            ([], "wire", UNKNOWN),
            # Between two attempts, or before the next one is on its way.
            (["refused"], "delay", NOT_SENT),
            (["429"], "delay", REJECTED),
            (["429"], "queue", REJECTED),
            (["lost"], "delay", UNKNOWN),
            (["lost"], "connecting", UNKNOWN),
            (["refused", "429"], "delay", REJECTED),
            (["429", "refused"], "delay", REJECTED),
            (["lost", "429"], "delay", UNKNOWN),
            (["lost", "refused"], "queue", UNKNOWN),
            # With one on its way.
            (["429"], "wire", UNKNOWN),
            (["refused"], "wire", UNKNOWN),
        ],
    )
    async def test_outcome(
        self, names: list[str], where: str, outcome: Outcome, caplog: pytest.LogCaptureFixture
    ) -> None:
        """
        A call that is cancelled tells its hooks and the log what is known by then; an attempt
        counts once it is on the wire, and from then on it may have landed.
        """
        events: list[Event] = []
        transport = stuck(*names, where=where)
        task = asyncio.ensure_future(run(CONFIRM, transport, hooks=(events.append,)))
        async with asyncio.timeout(5):
            await transport.stuck.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert (True, None, outcome) == (ended.cancelled, ended.error, ended.outcome)
        told = [event.attempt for event in events if isinstance(event, AttemptEnded)]
        assert list(ended.attempts) == told
        assert len(names) + (where == "wire") == len(told)
        if where == "wire":
            assert ("cancelled", UNKNOWN) == (told[-1].happened, told[-1].outcome)
        (message,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        so_far = f"cancelled after {len(told)} attempts, outcome {outcome}"
        key = ended.idempotency_key
        assert f"confirm_payment {so_far}; idempotency key {key}" == message


class TestHooks:
    async def test_events(self) -> None:
        """Hooks hear of the call, of each attempt as it ends, and of the end, in this order."""
        events: list[Event] = []
        answer = await works(CONFIRM, "lost", "ok", hooks=(events.append,))

        started, first, second, ended = events
        key = answer.meta.idempotency_key
        assert CallStarted(operation="confirm_payment", idempotency_key=key) == started
        assert isinstance(first, AttemptEnded)
        assert answer.meta.attempts[0] == first.attempt
        assert first.attempt.delay is not None
        assert isinstance(second, AttemptEnded)
        assert answer.meta.attempts[1] == second.attempt
        assert isinstance(ended, CallEnded)
        assert (answer.meta.attempts, None, False, RECORDED) == (
            ended.attempts,
            ended.error,
            ended.cancelled,
            ended.outcome,
        )
        assert {key} == {event.idempotency_key for event in events}
        assert {"confirm_payment"} == {event.operation for event in events}

    async def test_error(self) -> None:
        """At the end hooks hear of the very error that is raised, settled already."""
        events: list[Event] = []
        error = await fails(CONFIRM, "lost", "401", hooks=(events.append,))

        ended = events[-1]
        assert isinstance(ended, CallEnded)
        assert error is ended.error
        assert (UNKNOWN, UNKNOWN, False) == (ended.error.outcome, ended.outcome, ended.cancelled)

    async def test_all_hooks_hear(self) -> None:
        """Each hook hears of each event."""
        one: list[Event] = []
        two: list[Event] = []
        await works(CONFIRM, "ok", hooks=(one.append, two.append))

        assert 3 == len(one)
        assert one == two

    @pytest.mark.parametrize("wanted", [CallStarted, AttemptEnded, CallEnded])
    async def test_a_hook_hears_what_it_wants(self, wanted: type[Event]) -> None:
        """A hook that says what it wants hears of that alone; others hear of all."""

        class Choosy:
            wants = (wanted,)

            def __init__(self) -> None:
                self.heard: list[Event] = []

            def __call__(self, event: Event) -> None:
                self.heard.append(event)

        choosy, mock = Choosy(), Mock()
        everything: list[Event] = []
        await works(CONFIRM, "lost", "ok", hooks=(choosy, everything.append, mock))

        assert [event for event in everything if isinstance(event, wanted)] == choosy.heard
        assert [CallStarted, AttemptEnded, AttemptEnded, CallEnded] == list(map(type, everything))
        assert 4 == mock.call_count

    # A CancelledError is what the result of a cancelled future raises.
    @pytest.mark.parametrize("trouble", [LookupError, asyncio.CancelledError])
    @pytest.mark.parametrize("names", [["ok"], ["lost", "ok"], ["lost", "on record"], ["401"]])
    async def test_broken_hook_changes_nothing(
        self, names: list[str], trouble: type[BaseException], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A hook that fails is logged; the call and the other hooks do not notice."""
        events: list[Event] = []

        def broken(_: Event) -> None:
            raise trouble

        hooks = (broken, events.append)
        if names[-1] == "401":
            assert isinstance(await fails(CONFIRM, *names, hooks=hooks), AuthenticationError)
        else:
            assert len(names) == len((await works(CONFIRM, *names, hooks=hooks)).meta.attempts)

        assert len(names) + 2 == len(events)
        logged = [record for record in caplog.records if record.levelno == logging.ERROR]
        failed = [f"a hook failed on {type(event).__name__}" for event in events]
        assert failed == [record.getMessage() for record in logged]
        assert {trouble} == {record.exc_info[0] for record in logged if record.exc_info}


class TestLog:
    async def test_retries_are_told(self, time: Time, caplog: pytest.LogCaptureFixture) -> None:
        """Each attempt is logged for debugging and each repetition for information, with key."""
        caplog.set_level(logging.DEBUG, "carevalidate_async")
        answer = await works(CONFIRM, "503", "ok", retry=RetryPolicy(base_delay=1))

        name, key = "confirm_payment", f"idempotency key {answer.meta.idempotency_key}"
        error = "InternalServerError"
        assert [
            ("DEBUG", f"{name} attempt 1: {error}, status 503, 0.000 s, {key}"),
            ("INFO", f"{name}: trying again in 1.000 s after {error}, {key}"),
            ("DEBUG", f"{name} attempt 2: ok, status 200, 0.000 s, {key}"),
        ] == [(record.levelname, record.getMessage()) for record in caplog.records]

    async def test_quiet_by_default(self, caplog: pytest.LogCaptureFixture) -> None:
        """Nothing is logged as a warning, however often a call fails: the error says it all."""
        caplog.set_level(logging.WARNING)
        await fails(CONFIRM, *["lost"] * 4)

        assert [] == caplog.records


class TestAttempt:
    def test_is_a_value(self) -> None:
        """An attempt compares by what it says and cannot be changed."""
        facts: dict[str, Any] = {"number": 1, "duration": 0.5, "happened": "ok"}
        attempt = Attempt(**facts, outcome=RECORDED)

        assert Attempt(**facts, outcome=RECORDED) == attempt
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            attempt.number = 2  # type: ignore[misc]  # it is frozen
