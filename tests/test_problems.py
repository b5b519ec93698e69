"""What a web application answers when a call failed."""

from __future__ import annotations

import inspect
import json
import pathlib
import re
from typing import Any

import pytest

from carevalidate_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    BadRequestError,
    CareValidateError,
    ClientRequiredError,
    InternalServerError,
    InvalidRequestError,
    Outcome,
    RateLimitError,
    errors,
)
from carevalidate_async.integrations.problems import TYPES, Problem, ProblemError, problem_of

GUIDE = pathlib.Path(__file__).parents[1] / "docs" / "guides" / "web-servers.md"
CLASSES = sorted(
    (
        kind
        for kind in vars(errors).values()
        if inspect.isclass(kind) and issubclass(kind, CareValidateError)
    ),
    key=lambda kind: kind.__name__,
)
DERIVED = "cv1-" + "0" * 40
RANDOM = "2f0f5f0e-0000-4000-8000-000000000000"
# What of each class says that something was recorded, or that nobody knows; else nothing was.
ALWAYS = {
    "IdempotencyConflictError": Outcome.RECORDED,
    "AnswerLostError": Outcome.UNKNOWN,
    "ResponseDecodeError": Outcome.UNKNOWN,
    "ConflictError": Outcome.UNKNOWN,
}
PERSONAL = "jane@example.com"


def made(kind: type[CareValidateError], outcome: Outcome, **facts: Any) -> CareValidateError:
    """Return an error of the class, with what the vendor may have said."""
    if issubclass(kind, InvalidRequestError):
        return kind("amount", "must be a positive number")
    if issubclass(kind, APIStatusError):
        facts = {"status": 418, "message": PERSONAL, "body": {"session": PERSONAL}, **facts}
    error = kind(PERSONAL, **facts)
    error.outcome = outcome
    return error


def rows() -> dict[str, list[str]]:
    """Return the guide's table of errors and answers, by class."""
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| error |"))
    found = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = (cell.strip(" `") for cell in line.strip("|").split("|"))
        found[name] = cells
    return found


class TestTable:
    def test_of_the_guide(self) -> None:
        """The guide has a row for every class, with the status and the type that it is answered."""
        told = {}
        for kind in CLASSES:
            name = kind.__name__
            outcome = ALWAYS.get(name, Outcome.NOT_SENT)
            problem = problem_of(made(kind, outcome), caller_key=True)
            told[name] = [str(problem.status), problem.kind]

        assert told == rows()

    def test_types_of_the_guide(self) -> None:
        """The guide explains every type."""
        page = GUIDE.read_text(encoding="utf-8")
        page = page.partition("## What the application answers")[2].partition("\n## ")[0]

        assert set(TYPES) == set(re.findall(r"^- `([a-z-]+)`", page, re.MULTILINE))

    @pytest.mark.parametrize("kind", CLASSES)
    def test_unknown_outcomes(self, kind: type[CareValidateError]) -> None:
        """Whatever may be on record without a word about it has one type, and is no 4xx."""
        if kind is InvalidRequestError:
            return
        problem = problem_of(made(kind, Outcome.UNKNOWN), caller_key=True)

        assert "unknown-outcome" == problem.kind
        assert (504 if kind is APITimeoutError else 502) == problem.status
        assert Outcome.UNKNOWN == problem.document()["outcome"]

    @pytest.mark.parametrize("kind", CLASSES)
    @pytest.mark.parametrize("outcome", Outcome)
    def test_repeat_nothing_of_the_vendors(
        self, kind: type[CareValidateError], outcome: Outcome
    ) -> None:
        """No document holds the vendor's words, which may be personal or a credential."""
        for caller_key in (False, True):
            problem = problem_of(made(kind, outcome), caller_key=caller_key)

            assert PERSONAL.encode() not in problem.body()
            assert PERSONAL not in str(problem.headers)
            assert problem.document() == json.loads(problem.body())
            assert {"type", "title", "status", "detail", "outcome", "retryable"} <= set(
                problem.document()
            )
            assert 401 != problem.status or "Webhook" in kind.__name__

    def test_a_class_of_the_callers(self) -> None:
        """A class that is not there is answered like its parent."""

        class OwnError(BadRequestError):
            pass

        assert 422 == problem_of(made(OwnError, Outcome.REJECTED), caller_key=True).status


class TestDocument:
    def test_whole(self) -> None:
        """This is all of one."""
        error = made(RateLimitError, Outcome.REJECTED, status=429, retry_after=1.2)
        error.retryable, error.idempotency_key = True, DERIVED
        problem = problem_of(error, caller_key=True)

        assert {
            "type": "urn:problem-type:carevalidate-async:unavailable",
            "title": "The payment service takes no request for now",
            "status": 503,
            "detail": "Too much is asked of it at the moment.",
            "outcome": "rejected",
            "retryable": True,
            "reference": DERIVED,
        } == json.loads(problem.body())
        assert {"Retry-After": "2"} == problem.headers

    def test_a_bad_field(self) -> None:
        """It is named, with what is wrong with it."""
        problem = problem_of(InvalidRequestError("amount", "must be positive"), caller_key=True)

        assert ("amount", "must be positive") == (problem.members["field"], problem.detail)

    def test_a_credential_of_planocore(self) -> None:
        """The session that comes with one error is a credential, and stays here."""
        error = made(ClientRequiredError, Outcome.REJECTED, body={"session": {"token": "s3cret"}})

        assert b"s3cret" not in problem_of(error, caller_key=True).body()

    @pytest.mark.parametrize(
        ("asked", "header"),
        [
            (None, "1"),
            (0, "1"),
            (0.1, "1"),
            (59.5, "60"),
            (1e300, "86400"),
            (float("inf"), "86400"),
        ],
    )
    def test_retry_after(self, asked: float | None, header: str) -> None:
        """It is a whole number of seconds, a day at most."""
        error = made(RateLimitError, Outcome.REJECTED, retry_after=asked)

        assert {"Retry-After": header} == problem_of(error, caller_key=True).headers

    @pytest.mark.parametrize(
        ("key", "caller_key", "retryable", "repeat", "words"),
        [
            (DERIVED, True, True, True, "Ask again with the same Idempotency-Key"),
            (DERIVED, True, False, True, "Ask again with the same Idempotency-Key"),
            (DERIVED, False, True, False, "look first"),
            (RANDOM, True, True, False, "look first"),
            (None, True, True, True, "Ask again: it says how things shall be"),
            (None, True, False, False, "look first"),
        ],
    )
    def test_what_to_do_in_doubt(
        self, key: str | None, caller_key: bool, retryable: bool, repeat: bool, words: str
    ) -> None:
        """
        Only where the same request again is the same payment is the caller told to ask again.
        """
        error = made(InternalServerError, Outcome.UNKNOWN, retry_after=7)
        error.idempotency_key, error.retryable = key, retryable
        problem = problem_of(error, caller_key=caller_key)

        assert words in problem.detail
        assert repeat == problem.members["retryable"]
        assert ({"Retry-After": "7"} if repeat else {}) == problem.headers

    def test_no_connection(self) -> None:
        """What may pass by itself is asked for again; what does not is for the operator."""
        passing = made(APIConnectionError, Outcome.NOT_SENT, retryable=True)

        assert 503 == problem_of(passing, caller_key=True).status
        assert 502 == problem_of(made(APIConnectionError, Outcome.NOT_SENT), caller_key=True).status

    def test_of_a_refused_request(self) -> None:
        """The error of one says what the answer says."""
        error = ProblemError(Problem(kind="too-large", status=413, detail="Too much."))

        assert "Too much." == str(error)
