from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carevalidate_async import carevalidate, planocore
from carevalidate_async._dialect import (
    BodySecret,
    Dialect,
    HeaderSecret,
    No,
    Refusal,
    Unreadable,
    Yes,
    blank_out,
    is_success,
    judge,
    refusal_for_status,
)
from carevalidate_async._wire import Reply
from carevalidate_async.carevalidate import (
    CONFIRM_PAYMENT,
    CREATE_CASE_PAYMENT,
    CREATE_PAYMENT_INTENT,
    UPDATE_USER_PAYMENT,
)
from carevalidate_async.errors import (
    APIStatusError,
    AuthenticationError,
    BadRequestError,
    ClientRequiredError,
    ConflictError,
    IdempotencyConflictError,
    InternalServerError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    SessionExpiredError,
    UnprocessableEntityError,
)
from carevalidate_async.models import CasePaymentRequest
from carevalidate_async.planocore import UPDATE_PAYMENT_METHOD
from strategies import EMAILS, PHONES, answer, read, texts

if TYPE_CHECKING:
    from carevalidate_async._operation import Operation

REJECTED, RECORDED, UNKNOWN = Outcome.REJECTED, Outcome.RECORDED, Outcome.UNKNOWN
KEY_EXISTS = {"status": 409, "success": False, "code": "IDEMPOTENCY_ERROR", "description": "Exists"}

# HTTP status, class, outcome, transient: where the body says no more than the status.
BY_STATUS = [
    (100, APIStatusError, UNKNOWN, False),
    (300, APIStatusError, UNKNOWN, False),
    (301, APIStatusError, UNKNOWN, False),
    (302, APIStatusError, UNKNOWN, False),
    (303, APIStatusError, UNKNOWN, False),
    (304, APIStatusError, UNKNOWN, False),
    (399, APIStatusError, UNKNOWN, False),
    (307, APIStatusError, UNKNOWN, False),
    (308, APIStatusError, UNKNOWN, False),
    (400, BadRequestError, REJECTED, False),
    (401, AuthenticationError, REJECTED, False),
    (402, APIStatusError, REJECTED, False),
    (403, PermissionDeniedError, REJECTED, False),
    (404, NotFoundError, REJECTED, False),
    (405, APIStatusError, REJECTED, False),
    (408, APIStatusError, UNKNOWN, True),
    (409, ConflictError, UNKNOWN, False),
    (413, APIStatusError, REJECTED, False),
    (422, UnprocessableEntityError, REJECTED, False),
    (429, RateLimitError, REJECTED, True),
    (499, APIStatusError, REJECTED, False),
    (500, InternalServerError, UNKNOWN, True),
    (501, InternalServerError, UNKNOWN, False),
    (502, InternalServerError, UNKNOWN, True),
    (503, InternalServerError, UNKNOWN, True),
    (504, InternalServerError, UNKNOWN, True),
    (505, InternalServerError, UNKNOWN, False),
    (599, InternalServerError, UNKNOWN, True),
]
# Slug, class, outcome, transient: planocore's, whatever HTTP status they come with.
BY_SLUG = [
    ("invalid-token", AuthenticationError, REJECTED, False),
    ("session-expired", SessionExpiredError, REJECTED, False),
    ("client-required", ClientRequiredError, REJECTED, False),
    ("missing-param", BadRequestError, REJECTED, False),
    ("invalid-param", BadRequestError, REJECTED, False),
    ("invalid-content-type", BadRequestError, REJECTED, False),
    ("no-params-decoded", BadRequestError, REJECTED, False),
    ("invalid-encoded-params", BadRequestError, REJECTED, False),
    ("route-not-found", NotFoundError, REJECTED, False),
    ("service-not-found", NotFoundError, REJECTED, False),
    ("route-non-existent", InternalServerError, REJECTED, False),
    ("identify-request-error", InternalServerError, REJECTED, True),
    ("application-crash", InternalServerError, UNKNOWN, True),
    ("mandrill-email-failed", InternalServerError, UNKNOWN, False),
]


def error(operation: Any, status: int, body: object, **headers: str) -> APIStatusError:
    """Return the refusal that *operation* reads in an answer."""
    result = answer(operation, status, body, **headers)
    assert isinstance(result, APIStatusError)
    return result


class TestStatuses:
    @pytest.mark.parametrize(("status", "kind", "outcome", "transient"), BY_STATUS)
    @pytest.mark.parametrize(
        "body", [b"", b"<html>Bad Gateway</html>", b'{"message": "no', b"[]", b"{}", b'"no"']
    )
    def test_alone(
        self,
        status: int,
        kind: type[APIStatusError],
        outcome: Outcome,
        transient: bool,
        body: bytes,
    ) -> None:
        """
        Where the body says nothing, the status decides: only a 4xx is a sure no, and a redirect
        is neither followed nor believed.
        """
        found = error(CONFIRM_PAYMENT, status, body)

        assert kind is type(found)
        assert (status, outcome, transient) == (found.status, found.outcome, found.retryable)
        assert (None, None) == (found.code, found.message)

    @pytest.mark.parametrize(("status", "kind", "outcome", "transient"), BY_STATUS)
    def test_believes_no_yes(
        self, status: int, kind: type[APIStatusError], outcome: Outcome, transient: bool
    ) -> None:
        """
        A body that claims success makes no success of a status that is none.
        """
        found = error(CONFIRM_PAYMENT, status, {"status": 200, "success": True})
        slug = error(UPDATE_PAYMENT_METHOD, status, {"status": "action-successful"})

        assert (kind, outcome) == (type(found), found.outcome)
        assert (kind, outcome) == (type(slug), slug.outcome)
        assert transient is slug.retryable

    @pytest.mark.parametrize("status", range(100, 600))
    def test_two_hundreds(self, status: int) -> None:
        """
        The 2xx are the successes, and there the status alone never says that something was
        recorded.
        """
        assert (200 <= status < 300) is is_success(status)
        assert RECORDED is not refusal_for_status(status).outcome


class TestShapes:
    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ({"success": False, "message": "m"}, "m"),
            ({"status": 401, "error": "e"}, "e"),
            ({"status": 400, "success": False, "message": "m", "error": "e"}, "m: e"),
            ({"status": 400, "success": False, "description": "d"}, "d"),
            ({"message": "same", "error": "same"}, "same"),
            ({"message": ["a", "b"], "error": "e"}, "e"),
            ({"message": {"a": 1}}, None),
            ({"message": "", "error": "e"}, "e"),
            ({"message": ""}, None),
            ({"message": None}, None),
        ],
    )
    @pytest.mark.parametrize("operation", [CONFIRM_PAYMENT, UPDATE_PAYMENT_METHOD])
    def test_message(self, operation: Any, body: dict[str, Any], message: str | None) -> None:
        """
        The explanation is found in each shape of refusal, and only text is an explanation.
        """
        found = error(operation, 400, body)

        assert message == found.message
        assert body == found.body
        assert str(found).endswith(f": {message or 'no message'}")

    @pytest.mark.parametrize(
        ("body", "headers", "shape"),
        [
            (b"", {}, "no body"),
            (b"<!DOCTYPE html><p>canary", {}, "an HTML page of 24 bytes"),
            (b" <HTML>canary", {}, "an HTML page of 13 bytes"),
            (b"canary", {"content_type": "Text/HTML; charset=x"}, "an HTML page of 6 bytes"),
            (b"canary", {"content_type": "text/html"}, "an HTML page of 6 bytes"),
            (b"canary", {}, "6 bytes that are no JSON object"),
            (b'["canary"]', {}, "10 bytes that are no JSON object"),
        ],
    )
    def test_no_object(self, body: bytes, headers: dict[str, str], shape: str) -> None:
        """
        A body that is no JSON object is described in the text and kept whole as an attribute.
        """
        found = error(CONFIRM_PAYMENT, 502, body, **headers)

        assert f"confirm_payment: HTTP 502: {shape}" == str(found)
        assert body.decode() == found.body

    def test_no_text(self) -> None:
        """
        Bytes that are no UTF-8 are kept as far as they are text.
        """
        assert "\ufffdx" == error(CONFIRM_PAYMENT, 500, b"\xffx").body

    def test_headers(self) -> None:
        """
        Request id and Retry-After come from the headers.
        """
        found = error(CONFIRM_PAYMENT, 429, {}, x_request_id="id-1", retry_after="7")

        assert ("id-1", 7.0) == (found.request_id, found.retry_after)

    @pytest.mark.parametrize("code", [5, None, ["x"], {}, True])
    def test_code_is_text(self, code: object) -> None:
        """
        A code that is no text is no code.
        """
        assert error(CONFIRM_PAYMENT, 409, {"code": code}).code is None
        assert error(UPDATE_PAYMENT_METHOD, 409, {"status": code}).code is None


class TestTwoHundred:
    @pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
    @pytest.mark.parametrize(
        "body",
        [
            {"success": True},
            {"success": True, "status": 200},
            {"status": 200},
            {"status": 201, "message": "m"},
        ],
    )
    def test_yes(self, status: int, body: dict[str, Any]) -> None:
        """
        A 2xx whose object affirms is a success.
        """
        assert not isinstance(answer(CONFIRM_PAYMENT, status, body), Exception)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{}",
            b"null",
            b"[]",
            b"true",
            b"OK",
            b"<html>Sign in</html>",
            b'{"success": true',
            b'{"success": "yes"}',
            b'{"success": "no"}',
            b'{"success": "true"}',
            b'{"success": 1}',
            b'{"success": 0}',
            b'{"success": null}',
            b'{"success": null, "status": 200}',
            b'{"success": [true]}',
            b'{"status": "ok"}',
            b'{"status": null}',
            b'{"status": 200.5}',
            b'{"message": "done"}',
        ],
    )
    @pytest.mark.parametrize("operation", [CONFIRM_PAYMENT, UPDATE_PAYMENT_METHOD])
    def test_neither(self, operation: Any, body: bytes) -> None:
        """
        A 2xx that does not plainly say yes or no leaves the outcome unknown.
        """
        found = answer(operation, 200, body)

        assert isinstance(found, ResponseDecodeError)
        assert (UNKNOWN, True, 200) == (found.outcome, found.retryable, found.status)
        assert str(found).startswith(f"{operation.name}: HTTP 200 that cannot be read: ")

    @pytest.mark.parametrize(
        ("body", "kind", "outcome"),
        [
            ({"success": False}, APIStatusError, REJECTED),
            ({"success": False, "status": 200}, APIStatusError, REJECTED),
            ({"success": False, "message": "m"}, APIStatusError, REJECTED),
            ({"success": False, "status": 400}, BadRequestError, REJECTED),
            ({"status": 401, "error": "Invalid API key"}, AuthenticationError, REJECTED),
            ({"success": False, "status": 500}, InternalServerError, UNKNOWN),
            ({"status": 503}, InternalServerError, UNKNOWN),
            (KEY_EXISTS, IdempotencyConflictError, RECORDED),
            ({"success": False, "code": "IDEMPOTENCY_ERROR"}, APIStatusError, UNKNOWN),
            ({**KEY_EXISTS, "status": 400}, APIStatusError, UNKNOWN),
            ({**KEY_EXISTS, "status": 503}, APIStatusError, UNKNOWN),
            ({"success": False, "status": "500"}, InternalServerError, UNKNOWN),
            ({"success": False, "status": 500.0}, InternalServerError, UNKNOWN),
            ({"success": False, "status": "409"}, ConflictError, UNKNOWN),
            ({**KEY_EXISTS, "status": "409"}, IdempotencyConflictError, RECORDED),
            ({"success": False, "status": "0500"}, APIStatusError, REJECTED),
            ({"success": False, "status": 10**30}, APIStatusError, REJECTED),
            ({"success": False, "status": True}, APIStatusError, REJECTED),
            ({"success": False, "status": 99}, APIStatusError, REJECTED),
            ({"success": False, "status": 100}, APIStatusError, UNKNOWN),
            ({"success": False, "status": 999}, APIStatusError, UNKNOWN),
            ({"success": False, "status": 1000}, APIStatusError, REJECTED),
            ({"success": False, "status": "099"}, APIStatusError, REJECTED),
            ({"success": False, "status": "100"}, APIStatusError, UNKNOWN),
            ({"success": False, "status": "999"}, APIStatusError, UNKNOWN),
            ({"success": False, "status": "1000"}, APIStatusError, REJECTED),
        ],
    )
    def test_no(self, body: dict[str, Any], kind: type[APIStatusError], outcome: Outcome) -> None:
        """
        A 2xx whose object denies is the refusal that the object describes.
        """
        found = error(CONFIRM_PAYMENT, 200, body)

        assert (kind, outcome, 200) == (type(found), found.outcome, found.status)

    @pytest.mark.parametrize("body", [{"success": False}, {"success": False, "message": "m"}])
    def test_no_of_planocore(self, body: dict[str, Any]) -> None:
        """
        Nor is a 2xx of planocore's a success when its object says `"success": false`.
        """
        said_twice = error(UPDATE_PAYMENT_METHOD, 200, body | {"status": "action-successful"})

        assert REJECTED is error(UPDATE_PAYMENT_METHOD, 200, body).outcome
        assert REJECTED is said_twice.outcome

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            ({"success": True}, "data is not an object"),
            ({"success": True, "data": None}, "data is not an object"),
            ({"success": True, "data": []}, "data is not an object"),
            ({"success": True, "data": {}}, "result is not an object"),
            ({"success": True, "data": {"result": "p"}}, "result is not an object"),
            ({"success": True, "data": {"result": {}}}, "is missing"),
        ],
    )
    def test_yes_without_what_was_asked(self, body: dict[str, Any], words: str) -> None:
        """
        A success whose data cannot be read leaves the outcome unknown and names what is wrong.
        """
        found = answer(CREATE_CASE_PAYMENT, 200, body, x_request_id="id-1")

        assert isinstance(found, ResponseDecodeError)
        assert (UNKNOWN, "id-1") == (found.outcome, found.request_id)
        assert words in str(found)


class TestIdempotencyConflict:
    @pytest.mark.parametrize("body", [KEY_EXISTS, {"code": "IDEMPOTENCY_ERROR"}])
    def test_on_record(self, body: dict[str, Any]) -> None:
        """
        A 409 on the key says that the payment is on record.
        """
        found = error(CONFIRM_PAYMENT, 409, body)

        assert IdempotencyConflictError is type(found)
        assert (RECORDED, False) == (found.outcome, found.retryable)
        assert "IDEMPOTENCY_ERROR" == found.code

    @pytest.mark.parametrize("code", [None, "", "CONFLICT", "idempotency_error"])
    def test_other_conflicts(self, code: str | None) -> None:
        """
        A 409 on anything else does not say what is on record.
        """
        found = error(CONFIRM_PAYMENT, 409, {"success": False, "code": code})

        assert (ConflictError, UNKNOWN) == (type(found), found.outcome)

    @pytest.mark.parametrize(
        ("status", "kind", "outcome"),
        [
            (400, BadRequestError, REJECTED),
            (422, UnprocessableEntityError, REJECTED),
            (302, APIStatusError, UNKNOWN),
            (500, InternalServerError, UNKNOWN),
            (503, InternalServerError, UNKNOWN),
        ],
    )
    def test_only_with_409(self, status: int, kind: type[APIStatusError], outcome: Outcome) -> None:
        """
        The code on another status, such as a 400 about the key's form, records nothing.
        """
        found = error(CONFIRM_PAYMENT, status, {"success": False, "code": "IDEMPOTENCY_ERROR"})

        assert (kind, outcome) == (type(found), found.outcome)
        assert "IDEMPOTENCY_ERROR" == found.code

    @pytest.mark.parametrize("operation", [CREATE_PAYMENT_INTENT, UPDATE_USER_PAYMENT])
    def test_only_with_a_key(self, operation: Operation[Any, Any]) -> None:
        """
        Where no key was sent, the code says nothing of what is on record.
        """
        found = error(operation, 409, KEY_EXISTS)

        assert (ConflictError, UNKNOWN) == (type(found), found.outcome)

    @pytest.mark.parametrize(
        ("code", "shown"),
        [
            ("jane@example.com", "[email]"),
            ("USER MISSING", "USER MISSING"),
            ("5551234567", "[phone]"),
            ("1234567", "[phone]"),
            ("-A", "-A"),
            ("A" * 65, "A" * 65),
        ],
    )
    def test_what_is_no_word_is_no_code(self, code: str, shown: str) -> None:
        """
        Codes go into logs and journals; what is no word goes where the vendor's words go.
        """
        found = error(CONFIRM_PAYMENT, 400, {"success": False, "code": code})

        assert found.code is None
        assert f"confirm_payment: HTTP 400: {shown}" == str(found)

    @pytest.mark.parametrize(
        "code",
        [
            *("4001", "0", "9", "999999", "2FA_REQUIRED", "0_A", "9_A", "PAYMENT:DECLINED"),
            *("E/12", "E09", "E9", "_X", "A", "A" * 64),
        ],
    )
    def test_a_code_is_any_word(self, code: str) -> None:
        """
        Digits, and what vendors part words with, are as good; blanks around a code are no part.
        """
        found = error(CONFIRM_PAYMENT, 400, {"success": False, "code": f" {code} "})

        assert code == found.code

    def test_409_in_the_body(self) -> None:
        """
        The body's own 409 counts as well as that of HTTP.
        """
        assert IdempotencyConflictError is type(error(CONFIRM_PAYMENT, 400, KEY_EXISTS))


class TestSlugs:
    @pytest.mark.parametrize(("slug", "kind", "outcome", "transient"), BY_SLUG)
    @pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 418, 500, 503])
    def test_beats_the_status(
        self,
        slug: str,
        kind: type[APIStatusError],
        outcome: Outcome,
        transient: bool,
        status: int,
    ) -> None:
        """
        Planocore's errors are told apart by their slug, whatever HTTP status they come with.
        """
        found = error(UPDATE_PAYMENT_METHOD, status, {"status": slug})

        assert (kind, outcome, transient) == (type(found), found.outcome, found.retryable)
        assert (slug, status) == (found.code, found.status)
        assert f"update_payment_method: HTTP {status} {slug}: no message" == str(found)

    def test_table_is_whole(self) -> None:
        """
        The slugs above are all that the dialect knows, but for the one of success.
        """
        assert {slug for slug, *_ in BY_SLUG} == set(planocore.DIALECT.refusals)

    @pytest.mark.parametrize(("status", "kind", "outcome", "transient"), BY_STATUS)
    @pytest.mark.parametrize("slug", ["brand-new", "", "Session-Expired"])
    def test_unknown_slug(
        self,
        status: int,
        kind: type[APIStatusError],
        outcome: Outcome,
        transient: bool,
        slug: str,
    ) -> None:
        """
        A slug that nobody documented leaves the decision to the status.
        """
        found = error(UPDATE_PAYMENT_METHOD, status, {"status": slug})

        assert (kind, outcome, transient) == (type(found), found.outcome, found.retryable)
        assert (slug or None) == found.code

    def test_unknown_slug_on_200(self) -> None:
        """
        Beside a 2xx such a slug is no success and no refusal: the outcome is unknown.
        """
        found = answer(UPDATE_PAYMENT_METHOD, 200, {"status": "action-queued"})

        assert isinstance(found, ResponseDecodeError)
        assert UNKNOWN is found.outcome

    def test_client_required_keeps_its_session(self) -> None:
        """
        The session that registering needs is on the error, and in none of its texts.
        """
        session = {"id": 1, "token": "canary-token"}

        found = error(UPDATE_PAYMENT_METHOD, 401, {"status": "client-required", "session": session})

        assert isinstance(found, ClientRequiredError)
        assert session == found.session
        assert "canary" not in str(found) + repr(found)


class TestJudge:
    def test_hides_bodies(self) -> None:
        """
        No verdict prints the body or the vendor's words.
        """
        no = Reply(status=400, headers={}, body=b'{"message": "canary", "a": "canary"}')
        yes = Reply(status=200, headers={}, body=b'{"success": true, "a": "canary"}')

        assert isinstance(judge(carevalidate.DIALECT, no), No)
        assert isinstance(judge(carevalidate.DIALECT, yes), Yes)
        assert "canary" not in repr(judge(carevalidate.DIALECT, no))
        assert "canary" not in repr(judge(carevalidate.DIALECT, yes))

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            (b"", "its body is empty"),
            (b"{", "its body is not JSON"),
            (b"[1]", "its body is JSON, but no object"),
            (b"{}", "it does not say whether the request succeeded"),
        ],
    )
    def test_says_why(self, body: bytes, reason: str) -> None:
        """
        What cannot be read comes with the reason.
        """
        reply = Reply(status=200, headers={}, body=body)

        assert Unreadable(reason=reason) == judge(planocore.DIALECT, reply)

    @pytest.mark.parametrize(("only_with", "fits"), [(None, True), (400, True), (409, False)])
    def test_meaning_may_depend_on_a_status(self, only_with: int | None, fits: bool) -> None:
        """
        A code that means something with one status only means it with no other.
        """
        meant = Refusal(error=ConflictError, outcome=RECORDED, only_with=only_with)

        assert fits is meant.fits(400, 500)
        assert fits is meant.fits(500, 400)

    @pytest.mark.parametrize("kind", [Dialect, No, Refusal, Unreadable, Yes])
    def test_facts_have_names(self, kind: Any) -> None:
        """
        Two facts of one kind cannot change places: each is given by its name.
        """
        with pytest.raises(TypeError, match="positional"):
            kind(*attrs.fields(kind))

    def test_where_secrets_go(self) -> None:
        """
        CareValidate's key travels in a header, planocore's token in the body.
        """
        assert HeaderSecret("cv-api-key") == carevalidate.DIALECT.secret
        assert BodySecret("token") == planocore.DIALECT.secret


class TestBlankOut:
    @pytest.mark.parametrize(
        ("text", "blanked"),
        [
            ("User john@example.com does not exist", "User [email] does not exist"),
            ('{"email":"john@example.com"}', '{"email":"[email]"}'),
            ("mailto:a@b,c@d;e@f", "mailto:[email],[email];[email]"),
            ("<j.o-h+n@x.y.example>", "<[email]>"),
            ("a@b@c", "[email]@c"),
            ("call +1404567890 now", "call [phone] now"),
            ("call (404) 456-7890", "call ([phone]"),
            ("call 404.456.7890!", "call [phone]!"),
            ("call 404 5678", "call [phone]"),
            ("case 404 567", "case 404 567"),
            ("404 - 5678", "404 - 5678"),
            ("HTTP 409 at 12:30", "HTTP 409 at 12:30"),
            ("a @ b", "a @ b"),
            ("line\r\nFAKE LOG\x1b[31m\x00", "line FAKE LOG [31m"),
            ("", ""),
        ],
    )
    def test_what_looks_private(self, text: str, blanked: str) -> None:
        """
        Email addresses and phone numbers are blanked out, and all stands on one line.
        """
        assert blanked == blank_out(text, ())

    @pytest.mark.parametrize(
        ("text", "private", "blanked"),
        [
            ("John Doe is unknown", ("John Doe",), "[hidden] is unknown"),
            ("JOHN DOE is unknown", ("John Doe",), "[hidden] is unknown"),
            ("John  Doe is unknown", ("John Doe",), "[hidden] is unknown"),
            ("1 Main St Apt 2", ("1 Main St\nApt 2",), "[hidden]"),
            ("Johnson, John", ("John", "Johnson"), "[hidden], [hidden]"),
            ("Anna Zoe Lee", ("Zoe", "Anna Zoe Lee"), "[hidden]"),
            ("a.c abc", ("a.c",), "[hidden] abc"),
            ("ΔΔΣΛ ΔΔΣ", ("ΔΔΣ",), "[hidden]Λ [hidden]"),
            ("No such setupintent: 'seti_1'", ("seti_1",), "No such setupintent: '[hidden]'"),
            ("in DC and OK", ("DC", "", " "), "in DC and OK"),
        ],
    )
    def test_what_the_request_held(self, text: str, private: tuple[str, ...], blanked: str) -> None:
        """
        The request's own private texts go in any case and spacing, but for those too short to
        tell from words.
        """
        assert blanked == blank_out(text, private)

    @settings(max_examples=100, deadline=None)
    @given(before=texts(), private=texts(min_size=3), after=texts())
    def test_any_private_text(self, before: str, private: str, after: str) -> None:
        """
        Whatever the request held, its words are nowhere in the text unless they were ours.
        """
        shown = blank_out(f"{before} {private} {after}", (private,))
        words = " ".join("".join(c if c.isprintable() else " " for c in private).split())
        assert len(words) < 3 or words not in re.sub(r"\[(hidden|email|phone)\]", "\0", shown)

    @settings(max_examples=100, deadline=None)
    @given(before=texts(), private=EMAILS | PHONES, after=texts())
    def test_any_address_and_number(self, before: str, private: str, after: str) -> None:
        """
        An email address or phone number that stands free goes whatever stands around it.
        """
        assert private not in blank_out(f"{before} {private} {after}", ())

    @settings(max_examples=100, deadline=None)
    @given(text=st.text(max_size=600), private=st.lists(st.text(max_size=5), max_size=3))
    def test_fit_for_a_log(self, text: str, private: list[str]) -> None:
        """
        Whatever comes in, one printable line of at most 300 characters comes out.
        """
        shown = blank_out(text, tuple(private))

        assert len(shown) <= 300
        assert shown.isprintable()
        assert shown == shown.strip()

    def test_cut(self) -> None:
        """
        A long text is cut where its blanked form is too long, and ends in an ellipsis.
        """
        assert "x" * 300 == blank_out("x" * 300, ())
        assert "x" * 299 + "…" == blank_out("x" * 301, ())
        assert "[hidden]" == blank_out("s" * 400, ("s" * 400,))

    @pytest.mark.parametrize("place", [3990, 3995, 3999, 4000, 10_000])
    @pytest.mark.parametrize("filling", ["x ", "s" * 500 + " "])
    def test_end_of_the_look(self, place: int, filling: str) -> None:
        """
        Of a text that is far too long only the beginning is looked at, and a private text that
        stands where the look ends is not shown in part.
        """
        private = "private text of some length"
        before = (filling * place)[:place]

        shown = blank_out(f"{before}{private}, {private} " * 3, (private, "s" * 500))

        assert len(shown) <= 300
        assert shown.endswith("…")
        assert "priv" not in shown

    @pytest.mark.parametrize("before", [0, 100, 290])
    @pytest.mark.parametrize("length", [10, 200])
    def test_nothing_but_a_private_text_at_the_end_of_the_look(
        self, before: int, length: int
    ) -> None:
        """
        Nor is it where hardly anything else stands in the part that is looked at.
        """
        secret = "y" * length
        text = "x" * before + " " * (4001 - before - length) + secret

        assert "y" not in blank_out(text, (secret,))

    def test_long_text_is_shown_as_far_as_any(self) -> None:
        """
        A text that is far too long shows as much as one that is only too long.
        """
        assert "x" * 299 + "…" == blank_out("x" * 5000, ())

    @pytest.mark.parametrize("piece", ["a", "a@", "1 ", "1-", "+1"])
    def test_long_texts_take_no_time(self, piece: str) -> None:
        """
        A long answer is read in time that grows with its length and not with the square of it.
        """
        began = time.perf_counter()
        blank_out(piece * 200_000, ("abc",))

        assert time.perf_counter() - began < 1.0


class TestPersonalData:
    def test_user_does_not_exist(self) -> None:
        """
        The 400 that names the user's email address keeps it out of the text, not of `message`.
        """
        body = {"success": False, "message": "Invalid request", "error": "User john@example.com?"}

        found = error(UPDATE_USER_PAYMENT, 400, body)

        assert "update_user_payment: HTTP 400: Invalid request: User [hidden]?" == str(found)
        assert "Invalid request: User john@example.com?" == found.message

    @pytest.mark.parametrize(
        "echo", ["canary-credential", "seti_canary", "NMI-CANARY", "1600 pennsylvania avenue nw"]
    )
    @pytest.mark.parametrize("field", ["message", "error", "code"])
    def test_nothing_of_the_request(self, echo: str, field: str) -> None:
        """
        A vendor that repeats the credential or the request's data cannot put them into a log.
        """
        found = error(UPDATE_USER_PAYMENT, 400, {field: f"bad: {echo}"})

        assert echo not in str(found)
        assert "[hidden]" in str(found)
        assert found.code is None

    def test_letters_that_are_one_to_some_are_hidden(self) -> None:
        """
        A street in capitals is the same street, also where its capitals are other letters.
        """
        assert "[hidden]" == blank_out("at HAUPTSTRASSE 5, no", ("Hauptstra\u00dfe 5",))
        assert "in [hidden] Haag" == blank_out("in Den Haag", ("Den",))

    def test_our_own_words_stay(self) -> None:
        """
        A description that is one of our words does not blank out ours.
        """
        body = {"message": "payment: no"}
        request = CasePaymentRequest(amount=1, description="payment")
        reply = Reply(status=400, headers={}, body=json.dumps(body).encode())

        found = read(CREATE_CASE_PAYMENT, reply, request=request)

        assert "create_case_payment: HTTP 400: [hidden]: no" == str(found)
