from __future__ import annotations

import gc
import hmac
import json
import pickle
import weakref
from decimal import Decimal
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaries import EMAIL, KEY, Seen
from carevalidate_async import (
    CareValidateError,
    ConfigurationError,
    Outcome,
    SignatureProblem,
    WebhookPayloadError,
    WebhookSignatureError,
    webhooks,
)
from carevalidate_async.webhooks import WebhookEvent, WebhookType, read, sign, verify

SECRET = "a secret key"
BODY = (
    b'{"event":"PAYMENT_COMPLETED","payload":{"case":{"id":"case-1"},"payment":{"amount":49.90}}}'
)
# By `openssl dgst -sha256 -hmac 'a secret key'`, and without the key.
SIGNATURE = "9540500e45fe1a37450fce3598db47a2fb94e2a6b96e6e19a1b061ddd8a677b5"
FINGERPRINT = "cdd662c5748e4b5bad8cbc5648cd897fe9a26ba4dba66b9c2c67abf1d4495687"

secrets = st.text(st.characters(exclude_characters="\0"), min_size=1).filter(
    lambda text: text == text.strip()
)
documents = st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text())
bodies = documents.map(lambda document: json.dumps(document).encode())


def refused(body: Any, signature: Any, secret: Any) -> BaseException:
    """Return what `verify` raises."""
    with pytest.raises((CareValidateError, TypeError)) as caught:
        verify(body, signature, secret)
    return caught.value


def reason(signature: str | None, body: bytes = BODY, secret: str = SECRET) -> SignatureProblem:
    """Return why a signature is refused."""
    error = refused(body, signature, secret)
    assert isinstance(error, WebhookSignatureError)
    return error.reason


class TestSign:
    def test_as_the_standard_has_it(self) -> None:
        """A signature is HMAC-SHA256 in hex digits: RFC 4231, test case 2."""
        expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"

        assert expected == sign(b"what do ya want for nothing?", "Jefe")

    def test_as_openssl_has_it(self) -> None:
        """Another implementation gives the same signature of the same bytes."""
        assert SIGNATURE == sign(BODY, SECRET)

    def test_not_without_a_secret(self) -> None:
        """What anybody could sign is not signed."""
        with pytest.raises(ConfigurationError, match="empty"):
            sign(BODY, "")


class TestVerify:
    @given(bodies, secrets)
    def test_takes_what_was_signed(self, body: bytes, secret: str) -> None:
        """Whatever the body and the secret are, a signature made with them is good."""
        assert body == verify(body, sign(body, secret), secret).raw

    @given(bodies, secrets, st.data())
    def test_one_bit_of_the_body(self, body: bytes, secret: str, data: st.DataObject) -> None:
        """A body of which one bit was changed is refused."""
        bit = data.draw(st.integers(0, len(body) * 8 - 1))
        changed = bytearray(body)
        changed[bit // 8] ^= 1 << bit % 8

        assert SignatureProblem.MISMATCH is reason(sign(body, secret), bytes(changed), secret)

    @given(st.integers(0, 255))
    def test_one_bit_of_the_signature(self, bit: int) -> None:
        """A signature of which one bit was changed is refused, whichever it is."""
        changed = bytearray.fromhex(SIGNATURE)
        changed[bit // 8] ^= 1 << bit % 8

        assert SignatureProblem.MISMATCH is reason(changed.hex())

    @given(st.lists(secrets, min_size=1, max_size=5, unique=True), st.data())
    def test_any_secret_of_several(self, several: list[str], data: st.DataObject) -> None:
        """While a secret is replaced, a signature under the old or the new one is good."""
        one = data.draw(st.sampled_from(several))

        assert verify(BODY, sign(BODY, one), iter(several)).verified

    @given(secrets, secrets)
    def test_another_secret(self, one: str, other: str) -> None:
        """A signature under another secret is refused."""
        signature = sign(BODY, one)

        assert (one == other) is (reason_or_none(BODY, signature, other) is None)

    def test_blanks_in_the_body(self) -> None:
        """The same JSON written with other blanks is another body."""
        assert SignatureProblem.MISMATCH is reason(SIGNATURE, BODY.replace(b",", b", "))

    @pytest.mark.parametrize(
        "written",
        [
            SIGNATURE.upper(),
            f"  {SIGNATURE}\t",
            f"sha256={SIGNATURE}",
            f" SHA256={SIGNATURE.upper()}\r\n",
        ],
    )
    def test_ways_to_write_it(self, written: str) -> None:
        """Upper case, white space around and the name of the hash in front change nothing."""
        assert verify(BODY, written, SECRET).verified

    @pytest.mark.parametrize(
        ("signature", "expected"),
        [
            (None, SignatureProblem.MISSING),
            ("", SignatureProblem.MISSING),
            (" ", SignatureProblem.MISSING),
            ("no hex", SignatureProblem.MALFORMED),
            (SIGNATURE[:-1], SignatureProblem.MALFORMED),
            (SIGNATURE[:-2], SignatureProblem.MALFORMED),
            (SIGNATURE + "00", SignatureProblem.MALFORMED),
            (SIGNATURE[:32] + " " + SIGNATURE[32:], SignatureProblem.MALFORMED),
            (f"{SIGNATURE},{SIGNATURE}", SignatureProblem.MALFORMED),
            (f"sha1={SIGNATURE}", SignatureProblem.MALFORMED),
            (SIGNATURE[:-1] + "\N{ARABIC-INDIC DIGIT ONE}", SignatureProblem.MALFORMED),
            ("0" * 64, SignatureProblem.MISMATCH),
        ],
    )
    def test_refused_signatures(self, signature: str | None, expected: SignatureProblem) -> None:
        """What is absent, malformed or wrong is refused, each with its own reason."""
        assert expected is reason(signature)

    @pytest.mark.parametrize("body", [BODY.decode(), json.loads(BODY), None, [1]])
    def test_only_bytes(self, body: object) -> None:
        """A body that was decoded or parsed is refused as what it is: a mistake in the handler."""
        error = refused(body, SIGNATURE, SECRET)

        assert isinstance(error, TypeError)
        assert "must be the bytes that were received" in str(error)

    @pytest.mark.parametrize("kind", [bytearray, memoryview])
    def test_other_bytes(self, kind: Any) -> None:
        """Bytes in another form are the same bytes."""
        event = verify(kind(BODY), SIGNATURE, SECRET)

        assert (bytes, BODY) == (type(event.raw), event.raw)

    def test_only_text_as_signature(self) -> None:
        """A header that was not decoded is refused as a mistake in the handler."""
        assert isinstance(refused(BODY, SIGNATURE.encode(), SECRET), TypeError)

    @pytest.mark.parametrize(
        "secret",
        [
            *("", " ", "a secret key\n", "\0", "a secret key\0", None, 5, b"a secret key"),
            *((), [], {}, {SECRET: 1}, [""], [SECRET, ""], [SECRET, None], [b"a secret key"]),
        ],
    )
    def test_no_secret(self, secret: object) -> None:
        """Without a secret, or with one that is empty, nothing is good, however it is signed."""
        empty = hmac.new(b"", BODY, "sha256").hexdigest()

        for signature in (empty, SIGNATURE, None):
            assert isinstance(refused(BODY, signature, secret), ConfigurationError)

    def test_compares_in_constant_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each secret's digest is compared by the library's function, one that matched or not."""
        compare, lengths = hmac.compare_digest, []

        def spy(one: bytes, other: bytes) -> bool:
            lengths.append((len(one), len(other)))
            return compare(one, other)

        monkeypatch.setattr(hmac, "compare_digest", spy)
        verify(BODY, SIGNATURE, [SECRET, "another", "a third"])

        assert [(32, 32)] * 3 == lengths

    def test_before_it_is_read(self) -> None:
        """What is not signed is not parsed: its signature is what is wrong with it."""
        assert SignatureProblem.MISMATCH is reason(SIGNATURE, b"[" * 100_000)


def reason_or_none(body: Any, signature: str, secret: str) -> SignatureProblem | None:
    """Return why a signature is refused, None where it is good."""
    try:
        verify(body, signature, secret)
    except WebhookSignatureError as error:
        return error.reason
    return None


def event_of(document: object) -> WebhookEvent:
    """Return the event of a signed document."""
    body = json.dumps(document).encode()
    return verify(body, sign(body, SECRET), SECRET)


class TestEvent:
    def test_what_it_says(self) -> None:
        """The type, the payload, the case and the hash of the bytes are there."""
        event = verify(BODY, SIGNATURE, SECRET)

        assert WebhookType.PAYMENT_COMPLETED == event.type
        assert {"case": {"id": "case-1"}, "payment": {"amount": Decimal("49.90")}} == event.data
        assert {"event": "PAYMENT_COMPLETED", "payload": event.data} == event.body
        assert (BODY, FINGERPRINT, True) == (event.raw, event.fingerprint, event.verified)
        assert ("case-1", None) == (event.case_id, event.activity_id)

    def test_amounts_are_exact(self) -> None:
        """A number with a fraction has the digits that were sent."""
        amount = verify(BODY, SIGNATURE, SECRET).data["payment"]["amount"]

        assert (Decimal, "49.90") == (type(amount), str(amount))

    @pytest.mark.parametrize(
        ("document", "expected"),
        [
            ({"event": "A", "eventType": "B", "event_type": "C", "type": "D"}, "A"),
            ({"eventType": "B", "event_type": "C", "type": "D"}, "B"),
            ({"event_type": "C", "type": "D"}, "C"),
            ({"type": "D"}, "D"),
            ({"event": {"type": "X"}, "type": "D"}, "D"),
            ({"event": "", "type": "D"}, "D"),
            ({"event": None}, ""),
            ({"payload": {"event": "A"}}, ""),
            ({}, ""),
        ],
    )
    def test_type(self, document: object, expected: str) -> None:
        """The first field that names the event counts; an event that is not known is a text."""
        assert expected == event_of(document).type

    @pytest.mark.parametrize(
        ("payload", "activity_id", "case_id"),
        [
            ({"activity": {"id": "a-1"}, "caseId": "c-1"}, "a-1", "c-1"),
            ({"caseId": "c-1", "case": {"id": "c-2"}}, None, "c-1"),
            ({"caseId": 7, "case": {"id": "c-2"}, "activity": {"id": 7}}, None, "c-2"),
            ({"case": "c-1", "activity": []}, None, None),
        ],
    )
    def test_ids(self, payload: object, activity_id: str | None, case_id: str | None) -> None:
        """The ids of the happening and of the case are those of the payload, where it has them."""
        event = event_of({"event": "PAYMENT_ADDED", "payload": payload})

        assert (activity_id, case_id) == (event.activity_id, event.case_id)

    @pytest.mark.parametrize("payload", [None, [], "text"])
    def test_without_a_payload(self, payload: object) -> None:
        """Where the payload is no object, the data is the whole body."""
        event = event_of({"event": "X", "payload": payload, "caseId": "c-1"})

        assert event.body == event.data
        assert "c-1" == event.case_id

    def test_shows_nothing_of_people(self) -> None:
        """Neither data nor bytes stand in the repr."""
        seen = Seen()
        seen.add("event", event_of({"event": "PAYMENT_ADDED", "payload": {"email": EMAIL}}))

        assert "PAYMENT_ADDED" in seen.texts[0][1]
        assert [] == seen.planted()

    def test_equal(self) -> None:
        """Events are equal where their bytes are; they can be kept in a set, and pickled."""
        event = verify(BODY, SIGNATURE, SECRET)

        assert {event} == {verify(BODY, SIGNATURE, [SECRET]), pickle.loads(pickle.dumps(event))}  # noqa: S301 - our own bytes
        assert event != read(BODY)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            event.type = "X"  # type: ignore[misc]  # it is frozen


class TestPayload:
    @pytest.mark.parametrize(
        ("body", "expected"),
        [
            (b"", "empty"),
            (b"junk", "not JSON"),
            (b"\xff{}", "not JSON"),
            (b'{"event": "X"', "not JSON"),
            (b"[]", "not a JSON object"),
            (b'"text"', "not a JSON object"),
            (b"null", "not a JSON object"),
            (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "nested too deeply"),
        ],
    )
    def test_unreadable(self, body: bytes, expected: str) -> None:
        """What is signed and cannot be read says so, and says nothing of the money."""
        for error in (refused(body, sign(body, SECRET), SECRET), refusal_of_read(body)):
            assert isinstance(error, WebhookPayloadError)
            assert f"the webhook's body is {expected}" == str(error)
            assert Outcome.NOT_SENT is error.outcome


def refusal_of_read(body: Any) -> BaseException:
    """Return what `read` raises."""
    with pytest.raises((CareValidateError, TypeError)) as caught:
        read(body)
    return caught.value


class TestRead:
    def test_says_that_nobody_checked(self) -> None:
        """An event of an account without a secret is the same, but for not being verified."""
        assert attrs.evolve(verify(BODY, SIGNATURE, SECRET), verified=False) == read(BODY)

    def test_only_bytes(self) -> None:
        """Here too a body that was parsed is refused, so that a handler can begin to verify."""
        assert isinstance(refusal_of_read({}), TypeError)


class TestSecrets:
    """What a handler's error report may hold."""

    BODY = json.dumps({"event": "X", "payload": {"email": EMAIL}}).encode()

    @pytest.mark.parametrize(
        ("body", "signature", "secret"),
        [
            (BODY, None, KEY),
            (BODY, "no hex", KEY),
            (BODY, "0" * 64, KEY),
            (BODY, "0" * 64, [KEY, "another"]),
            (BODY, "0" * 64, [KEY, ""]),
            (BODY, "0" * 64, f"{KEY}\n"),
            (BODY, "0" * 64, {KEY: 1}),
            (BODY.decode(), "0" * 64, KEY),
            (BODY[:-1], sign(BODY[:-1], KEY), KEY),
        ],
    )
    def test_refusals_keep_them(self, body: Any, signature: Any, secret: Any) -> None:
        """No refusal, nor its frames, shows the secret, the body or the right signature."""
        seen = Seen()
        error = refused(body, signature, secret)
        seen.add_error(error)

        assert error.__traceback__ is not None
        assert [] == seen.planted()
        if isinstance(body, bytes) and signature != sign(body, KEY):
            assert not any(sign(body, KEY) in text for _, text in seen.texts)

    def test_refusals_go(self) -> None:
        """A refusal that was handled is gone at once, and what the handler held with it."""

        class Body(bytearray):
            """One that can be told to be gone."""

        def handle() -> weakref.ref[Body]:
            body = Body(BODY)
            assert SignatureProblem.MISMATCH is reason_or_none(body, "0" * 64, SECRET)
            return weakref.ref(body)

        gc.disable()
        try:
            assert handle()() is None
        finally:
            gc.enable()

    def test_control(self) -> None:
        """The search finds what bare hmac code leaves in its frames."""

        def check(key: str, body: bytes) -> None:
            raise ValueError

        seen = Seen()
        try:
            check(KEY, self.BODY)
        except ValueError as error:
            frame = error.__traceback__ and error.__traceback__.tb_next
            assert frame is not None
            seen.add("locals", frame.tb_frame.f_locals)

        assert {KEY, EMAIL} == {secret for _, secret in seen.planted()}

    @pytest.mark.parametrize("reason", SignatureProblem)
    def test_travels(self, reason: SignatureProblem) -> None:
        """A refusal keeps its reason when it is pickled."""
        error = WebhookSignatureError("no", reason=reason)

        again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

        assert reason is again.reason
        assert isinstance(again, CareValidateError)


class TestNames:
    def test_types(self) -> None:
        """Each known type is the text that the vendor sends."""
        assert [kind.name for kind in WebhookType] == list(WebhookType)

    def test_header(self) -> None:
        """The header is the vendor's, in the spelling that every framework looks up."""
        assert "x-cv-signature" == webhooks.SIGNATURE_HEADER
