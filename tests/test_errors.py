from __future__ import annotations

import copy
import inspect
import pickle
import re
from typing import Any

import attrs
import pytest

from carevalidate_async import errors
from carevalidate_async.errors import (
    AnswerLostError,
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    Attempt,
    AuthenticationError,
    BadRequestError,
    CareValidateError,
    ClientClosedError,
    ClientRequiredError,
    ConfigurationError,
    ConflictError,
    GaveUp,
    IdempotencyConflictError,
    InternalServerError,
    InvalidRequestError,
    NotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitError,
    ResponseDecodeError,
    SessionExpiredError,
    SignatureProblem,
    UnprocessableEntityError,
    WebhookPayloadError,
    WebhookSignatureError,
    error_for_status,
)

# The contract's tree: each class and the class that it derives from first.
TREE = {
    CareValidateError: Exception,
    InvalidRequestError: CareValidateError,
    ConfigurationError: CareValidateError,
    ClientClosedError: CareValidateError,
    APIConnectionError: CareValidateError,
    AnswerLostError: APIConnectionError,
    APITimeoutError: APIConnectionError,
    ResponseDecodeError: CareValidateError,
    WebhookSignatureError: CareValidateError,
    WebhookPayloadError: CareValidateError,
    APIStatusError: CareValidateError,
    BadRequestError: APIStatusError,
    AuthenticationError: APIStatusError,
    SessionExpiredError: AuthenticationError,
    ClientRequiredError: AuthenticationError,
    PermissionDeniedError: APIStatusError,
    NotFoundError: APIStatusError,
    ConflictError: APIStatusError,
    IdempotencyConflictError: ConflictError,
    UnprocessableEntityError: APIStatusError,
    RateLimitError: APIStatusError,
    InternalServerError: APIStatusError,
}
ATTEMPTS = (
    Attempt(number=1, duration=0.5, happened="AnswerLostError", outcome=Outcome.UNKNOWN, delay=1.0),
    Attempt(number=2, duration=0.25, happened="ok", outcome=Outcome.REJECTED, status=400),
)
FACTS: dict[str, Any] = {
    "outcome": Outcome.UNKNOWN,
    "retryable": True,
    "idempotency_key": "key-1",
    "attempts": ATTEMPTS,
    "gave_up": GaveUp.MAX_ATTEMPTS,
}
ANSWER: dict[str, Any] = {
    "status": 401,
    "code": "client-required",
    "message": "canary-message",
    "body": {"status": "client-required", "session": {"token": "canary-token"}},
    "request_id": "req-1",
    "retry_after": 2.5,
}


def made(kind: type[CareValidateError]) -> CareValidateError:
    """Return an error of *kind* with every attribute set to something."""
    if issubclass(kind, InvalidRequestError):
        error: CareValidateError = kind("amount", "must be a positive number")
        vars(error).update(FACTS)
        return error
    if issubclass(kind, APIStatusError):
        return kind("a summary", **ANSWER, **FACTS)
    if issubclass(kind, ResponseDecodeError):
        return kind("a summary", status=200, request_id="req-1", **FACTS)
    if issubclass(kind, WebhookSignatureError):
        return kind("a summary", reason=SignatureProblem.MALFORMED, **FACTS)
    return kind("a summary", **FACTS)


def parents_in_picture() -> dict[str, str]:
    """Return child and parent of every line of the tree that the module's docstring draws."""
    parents, path = {}, ["Exception"]
    for line in str(errors.__doc__).splitlines():
        found = re.match(r"    ([│├└─ ]*)([A-Z]\w+Error)\b", line)
        if found:
            del path[len(found[1]) // 4 + 1 :]
            parents[found[2]] = path[-1]
            path.append(found[2])
    return parents


class TestTree:
    def test_as_the_contract_has_it(self) -> None:
        """
        The module holds the contract's classes and no other, each under its parent.
        """
        found = {
            kind: kind.__bases__[0]
            for kind in vars(errors).values()
            if inspect.isclass(kind) and issubclass(kind, BaseException)
        }

        assert TREE == found

    def test_as_its_picture_shows(self) -> None:
        """
        The tree in the docstring is the tree of the classes.
        """
        assert {kind.__name__: up.__name__ for kind, up in TREE.items()} == parents_in_picture()

    def test_bad_field_is_a_value_error(self) -> None:
        """
        A refused field can be caught as the ValueError that it is.
        """
        assert issubclass(InvalidRequestError, ValueError)

    @pytest.mark.parametrize("kind", TREE)
    def test_one_sentence_first(self, kind: type[CareValidateError]) -> None:
        """
        Each class says in the first line of its docstring what happened.
        """
        assert str(inspect.getdoc(kind)).splitlines()[0].endswith(".")


class TestStatuses:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (400, BadRequestError),
            (401, AuthenticationError),
            (403, PermissionDeniedError),
            (404, NotFoundError),
            (409, ConflictError),
            (422, UnprocessableEntityError),
            (429, RateLimitError),
            (500, InternalServerError),
            (502, InternalServerError),
            (503, InternalServerError),
            (504, InternalServerError),
            (501, InternalServerError),
            (599, InternalServerError),
            (100, APIStatusError),
            (200, APIStatusError),
            (302, APIStatusError),
            (402, APIStatusError),
            (405, APIStatusError),
            (408, APIStatusError),
            (499, APIStatusError),
            (600, APIStatusError),
        ],
    )
    def test_class(self, status: int, kind: type[APIStatusError]) -> None:
        """
        Each status has the class of the contract's table, and any other the parent.
        """
        assert kind is error_for_status(status)


class TestOutcome:
    def test_names(self) -> None:
        """
        The outcomes are the contract's four, and each is the text of its name in lower case.
        """
        assert ["not_sent", "rejected", "recorded", "unknown"] == list(Outcome)
        assert "unknown" == f"{Outcome.UNKNOWN}"


class TestGaveUp:
    def test_names(self) -> None:
        """
        Each reason for no further try is the text of its name in lower case, for logs to count.
        """
        assert [
            *("final", "unsafe", "max_attempts", "retry_after", "deadline"),
            *("retry_quota", "closed"),
        ] == list(GaveUp)


class TestAttempt:
    def test_cannot_be_changed(self) -> None:
        """
        The record of an attempt is a record: nothing in it can be set.
        """
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            ATTEMPTS[0].number = 2  # type: ignore[misc]  # it is frozen

    def test_facts_have_names(self) -> None:
        """
        Two numbers of an attempt cannot change places: each is given by its name.
        """
        with pytest.raises(TypeError, match="positional"):
            Attempt(1, 0.5, "ok", Outcome.RECORDED)  # type: ignore[call-arg]  # on purpose

    def test_last_has_no_delay(self) -> None:
        """
        An attempt that got no answer and no successor has neither a status nor a delay.
        """
        last = Attempt(number=1, duration=0.1, happened="x", outcome=Outcome.NOT_SENT)

        assert (None, None) == (last.status, last.delay)

    def test_did_not_wait_for_a_connection(self) -> None:
        """
        Unless it says otherwise, an attempt went out at once.
        """
        at_once = Attempt(number=1, duration=0.1, happened="x", outcome=Outcome.NOT_SENT)

        assert 0.0 == at_once.queued


class TestEveryClass:
    @pytest.mark.parametrize("kind", TREE)
    def test_bare(self, kind: type[CareValidateError]) -> None:
        """
        An error made from nothing says that nothing was sent.
        """
        error = kind()

        assert (Outcome.NOT_SENT, False, None, (), None) == (
            error.outcome,
            error.retryable,
            error.idempotency_key,
            error.attempts,
            error.gave_up,
        )
        assert "" == str(error)

    def test_bare_answers(self) -> None:
        """
        An error about an answer that was made from nothing knows nothing of the answer.
        """
        unread, refused = ResponseDecodeError(), APIStatusError()

        assert (None, None) == (unread.status, unread.request_id)
        assert dict.fromkeys(ANSWER) | {"status": 0} == {
            name: getattr(refused, name) for name in ANSWER
        }

    def test_tells_of_the_answer(self) -> None:
        """
        What is known of the answer is on the error, each fact under its name.
        """
        unread = ResponseDecodeError("no", status=200, request_id="req-1")
        refused = APIStatusError("no", **ANSWER)

        assert (200, "req-1") == (unread.status, unread.request_id)
        assert ANSWER == {name: getattr(refused, name) for name in ANSWER}

    @pytest.mark.parametrize("kind", TREE)
    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_pickles(self, kind: type[CareValidateError], protocol: int) -> None:
        """
        Class, attributes and text of an error survive pickling under every protocol.
        """
        error = made(kind)
        error.add_note("a note")

        again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes

        assert kind is type(again)
        assert (error.args, vars(error), str(error)) == (again.args, vars(again), str(again))

    @pytest.mark.parametrize("kind", TREE)
    @pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
    def test_copies(self, kind: type[CareValidateError], duplicate: Any) -> None:
        """
        A copy of an error has its class, attributes and text.
        """
        error = made(kind)

        again = duplicate(error)

        assert kind is type(again)
        assert (error.args, vars(error), str(error)) == (again.args, vars(again), str(again))

    @pytest.mark.parametrize("kind", [kind for kind in TREE if kind is not InvalidRequestError])
    def test_tells_of_the_call(self, kind: type[CareValidateError]) -> None:
        """
        After a call the text ends with the outcome, the number of attempts, why there were no more
        and the key.
        """
        expected = (
            "a summary [outcome: unknown, attempts: 2, gave up: max_attempts, "
            "idempotency key: key-1]"
        )

        assert expected == str(made(kind))
        assert f"{kind.__name__}({expected!r})" == repr(made(kind))

    @pytest.mark.parametrize("kind", TREE)
    def test_hides_the_vendors_words(self, kind: type[CareValidateError]) -> None:
        """
        Message and body stay attributes: neither text nor repr of an error shows them.
        """
        assert "canary" not in str(made(kind)) + repr(made(kind))


class TestText:
    def test_without_a_key(self) -> None:
        """
        The text of an operation without an idempotency key does not speak of one.
        """
        error = BadRequestError("no", outcome=Outcome.REJECTED, attempts=ATTEMPTS[:1])

        assert "no [outcome: rejected, attempts: 1]" == str(error)

    def test_before_any_attempt(self) -> None:
        """
        Where nothing was tried the text is the summary alone.
        """
        assert "no key" == str(ConfigurationError("no key"))

    def test_by_name(self) -> None:
        """
        A summary that is given by its name is a summary.
        """
        assert "no key" == str(ConfigurationError(summary="no key"))

    @pytest.mark.parametrize(("args", "text"), [((), ""), (("lost", "more"), "lost")])
    def test_others_arguments(self, args: tuple[str, ...], text: str) -> None:
        """
        Whoever rewrites the arguments of an error, as some loggers do, can print it still.
        """
        error = AnswerLostError("no")
        error.args = args

        assert text == error.summary

    def test_later_facts(self) -> None:
        """
        The text follows the attributes, which the call sets after the error was made.
        """
        error = AnswerLostError("lost")
        error.outcome, error.attempts = Outcome.UNKNOWN, ATTEMPTS

        assert "lost [outcome: unknown, attempts: 2]" == str(error)

    def test_field_and_reason(self) -> None:
        """
        A bad field is named before the reason; without a field the reason stands alone.
        """
        error = InvalidRequestError("amount", "is a float")

        assert ("amount", "is a float") == (error.field, error.reason)
        assert ("amount", "is a float") == error.args
        assert "amount: is a float" == str(error)
        assert "InvalidRequestError('amount: is a float')" == repr(error)
        assert "is a float" == str(InvalidRequestError("", "is a float"))


class TestClientRequired:
    @pytest.mark.parametrize(
        ("body", "session"),
        [
            ({"session": {"token": "t"}}, {"token": "t"}),
            ({"session": {}}, {}),
            ({"session": None}, None),
            ({"session": "t"}, None),
            ({}, None),
            ("<html>", None),
            (None, None),
        ],
    )
    def test_session(self, body: Any, session: Any) -> None:
        """
        The vendor's session object is at hand, and None where there is no such object.
        """
        assert session == ClientRequiredError("no", body=body).session
