from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner, Result

from carevalidate_async import cli
from carevalidate_async._commands import plain
from carevalidate_async._commands.output import print_json
from carevalidate_async._commands.signals import Interruption
from carevalidate_async.carevalidate import CREATE_CASE_PAYMENT, CREATE_PAYMENT_INTENT
from carevalidate_async.errors import (
    APIConnectionError,
    CareValidateError,
    InternalServerError,
    InvalidRequestError,
    Outcome,
    RateLimitError,
)
from carevalidate_async.models import (
    CasePayment,
    Meta,
    PaymentIntentRequest,
    PaymentMethodUpdate,
)
from carevalidate_async.sandbox import Fault, Sandbox
from cli_support import run_with, running_sandbox, start, unread, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

CASE = "9f0f2f70-f536-4b1d-8ed4-c831f4a4bcab"
ADDRESS = ["--address-line1", "1 Main St", "--city", "Washington", "--state", "DC"]
USER = [
    *("--email", "john@example.com", "--stripe-setup-id", "seti_1", "--nmi-payment-token", "nmi"),
    *(*ADDRESS, "--country", "US", "--postal-code", "20500"),
]
ONE_TRY = ("--max-attempts", "1")


@pytest.fixture
def served() -> Iterator[Sandbox]:
    with running_sandbox(api_key="test", token="test") as sandbox:
        yield sandbox


@pytest.fixture(autouse=True)
def environment(served: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    monkeypatch.setenv("CAREVALIDATE_BASE_URL", served.url)
    monkeypatch.setenv("PLANOCORE_TOKEN", "test")
    monkeypatch.setenv("PLANOCORE_BASE_URL", served.url)
    monkeypatch.chdir(tmp_path)


def call(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(cli.cli, arguments, input=stdin)


def document(result: Result) -> dict[str, Any]:
    found = json.loads(result.stdout.splitlines()[-1], parse_float=Decimal)
    assert isinstance(found, dict)
    return found


class TestIntent:
    def test_the_secret_is_the_result_and_stands_alone(self, served: Sandbox) -> None:
        """
        Standard output holds the secret and nothing else, so that it can be piped.
        """
        result = call("intent", "--amount", "1.15", "--method", "card", "--method", "klarna")

        assert 0 == result.exit_code
        assert result.stdout.startswith("pi_")
        assert 1 == len(result.stdout.split())
        assert "" == result.stderr
        assert b'{"amount":1.15,"paymentMethodTypes":["card","klarna"]}' == served.bodies[0]

    def test_json_holds_how_the_call_went(self) -> None:
        """
        With --json the secret comes with the number of attempts.
        """
        found = document(call("intent", "--amount", "5", "--email", "a@example.com", "--json"))

        assert found["payment_intent_secret"].startswith("pi_")
        assert (1, "recorded", None) == (
            found["attempts"],
            found["outcome"],
            found["idempotency_key"],
        )

    def test_personal_data_can_come_from_standard_input(self, served: Sandbox) -> None:
        """
        --input keeps it out of the list of processes; options win over it, field by field.
        """
        fields = {"amount": "9", "metadata": {"email": "a@example.com", "phone": "+15550100200"}}
        result = call(
            *("intent", "--input", "-", "--amount", "1.10", "--phone", "+15550100299"),
            stdin=json.dumps(fields),
        )

        assert 0 == result.exit_code
        assert (
            b'{"amount":1.10,"metadata":{"email":"a@example.com","phone":"+15550100299"}}'
            == served.bodies[0]
        )

    def test_an_unknown_outcome_says_what_it_means_and_what_to_do(self, served: Sandbox) -> None:
        """
        An intent may have been made: that is 1, and the advice is right for an intent.
        """
        served.script(Fault.DROP_AFTER)
        result = call("intent", "--amount", "5")

        assert 1 == result.exit_code
        assert "" == result.stdout
        assert "What happened:   create_payment_intent: " in result.stderr
        assert "What it means:   It may have been carried out, or not" in result.stderr
        assert "What to do:      Run the command again for a new intent." in result.stderr
        assert "Idempotency key" not in result.stderr

    @pytest.mark.parametrize(
        ("arguments", "stdin", "message"),
        [
            ([], None, "amount: is missing"),
            (["--amount", "$5"], None, "amount: has a currency sign"),
            (["--amount", "0"], None, "amount: must be a positive number"),
            (["--amount", "5", "--email", "secret"], None, "email: is not an email address"),
            (["--input", "-"], '{"amount": 1.5e400}', "amount: must be at most"),
            (["--input", "-"], '{"amount": NaN}', "input: is not one JSON object"),
            (["--input", "-"], "[]", "input: is not one JSON object"),
            (["--input", "-"], "{", "input: is not one JSON object"),
            (["--input", "-"], '{"sum": 1}', "sum: is no field of PaymentIntentRequest"),
            (["--input", "-"], '{"amount": 1, "metadata": {"x": 1}}', "metadata.x: is no field"),
            (["--input", "-"], '{"amount": 1, "metadata": 1}', "must be a PaymentIntentMetadata"),
            (["--amount", "5", "--base-url", "http://example.com"], None, "plain http"),
            (["--amount", "5", "--sandbox", "--base-url", "http://[::1]:1"], None, "give one of"),
        ],
    )
    def test_bad_input_is_2_and_nothing_is_sent(
        self, served: Sandbox, arguments: list[str], stdin: str | None, message: str
    ) -> None:
        """
        What is wrong is named without its value, and the vendor is not asked.
        """
        result = call("intent", *arguments, stdin=stdin)

        assert 2 == result.exit_code
        assert message in result.stderr
        assert "secret" not in result.output
        assert 0 == served.received


class TestCasePayment:
    def test_the_created_payment_is_shown(self, served: Sandbox) -> None:
        """
        Its id comes first, its amount is exact.
        """
        result = call(
            *("case-payment", CASE, "--amount", "100.10", "--description", "Hold"),
            *("--preauthorize", "--idempotency-key", "k-1"),
        )
        (payment,) = served.payments

        assert 0 == result.exit_code
        assert f"payment_id: {payment.id}" == result.stdout.splitlines()[0]
        assert "amount: 100.1" in result.stdout
        assert (True, "k-1") == (payment.body["preauthorize"], payment.idempotency_key)

    def test_json_amounts_are_numbers(self) -> None:
        """
        With --json the answer is an object with exact numbers and the key that it went under.
        """
        result = call("case-payment", CASE, "--amount", "1.15", "--description", "d", "--json")
        found = document(result)

        assert Decimal("1.15") == found["amount"]
        assert 36 == len(found["idempotency_key"])
        assert found["created_at"].endswith("Z")

    def test_a_payment_on_record_is_not_to_be_entered_again(self) -> None:
        """
        A key that is on record already is an error whose advice prevents a double payment.
        """
        arguments = ["case-payment", CASE, "--amount", "1", "--description", "d"]
        arguments += ["--idempotency-key", "k-1"]
        call(*arguments)
        result = call(*arguments, "--json")

        assert 1 == result.exit_code
        assert "do not enter it again under another key" in result.stderr
        assert "Idempotency key: k-1" in result.stderr
        assert (
            "IdempotencyConflictError",
            "recorded",
            409,
            "IDEMPOTENCY_ERROR",
            "k-1",
            1,
        ) == tuple(
            document(result)[name]
            for name in ("error", "outcome", "status", "code", "idempotency_key", "attempts")
        )

    def test_an_unknown_outcome_gives_the_key_to_ask_with(self, served: Sandbox) -> None:
        """
        The key that was made for the call is in the advice: with it, asking again is safe.
        """
        served.script(Fault.DROP_AFTER)
        arguments = ["case-payment", CASE, "--amount", "1", "--description", "d", *ONE_TRY]
        lost = call(*arguments, "--json")
        key = document(lost)["idempotency_key"]
        again = call(*arguments, "--idempotency-key", key)

        assert 1 == lost.exit_code
        assert f"with --idempotency-key {key}: under one key it is recorded once" in lost.stderr
        assert "It is on record already" in again.stderr
        assert 1 == len(served.payments)

    def test_an_answer_that_cannot_be_shown_is_no_reason_to_ask_again(
        self, served: Sandbox, tmp_path: pathlib.Path
    ) -> None:
        """
        A full disk at the other end of standard output does not hide that the payment was made.
        """
        arguments = ["case-payment", CASE, "--amount", "1", "--description", "d"]
        with pathlib.Path("/dev/full").open("w") as full:
            result = subprocess.run(
                [sys.executable, "-m", "carevalidate_async", *arguments],
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                check=False,
            )

        assert 1 == result.returncode
        assert "Traceback" not in result.stderr
        assert (
            f"carried out, under the idempotency key {served.payments[0].idempotency_key}, but"
            in result.stderr
        )

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    @pytest.mark.parametrize(
        ("arguments", "advice"),
        [
            (["case-payment", CASE, "--amount", "1", "--description", "d"], "recorded once"),
            (["intent", "--amount", "1", "--method", "card", "--email", "a@b.co"], "a new intent"),
        ],
    )
    def test_an_interrupted_call_may_have_been_carried_out(
        self, served: Sandbox, arguments: list[str], advice: str, number: int
    ) -> None:
        """
        Who interrupts a call hears how to settle it, with the key that it was sent under.
        """
        served.script(Fault.HANG)
        run = start(*arguments, "--json")
        wait_for(lambda: served.received == 1)
        run.send_signal(number)
        out, err = run.communicate(timeout=20)
        found = json.loads(out)
        key = json.loads(served.requests[0].body).get("idempotencyKey")

        assert 130 == run.returncode
        assert "What happened:   interrupted" in err
        assert advice in found["what_to_do"]
        assert ("unknown", key) == (found["outcome"], found["idempotency_key"])
        assert (key is not None) is found["retryable"]

    def test_an_interrupted_input_was_not_sent(self, served: Sandbox) -> None:
        """
        One interrupt is enough while the fields are awaited, and nothing was sent then.
        """
        run = start("update-user", "--input", "-", "--json", stdin=subprocess.PIPE)
        assert run.stdin is not None
        run.stdin.write("{")
        run.stdin.flush()
        wait_for(lambda: 0 == unread(run.stdin))
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=20)
        found = json.loads(out)

        assert 130 == run.returncode
        assert ("not_sent", True) == (found["outcome"], found["retryable"])
        assert 0 == served.received

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('{"amount": 1, "description": "x", "amount": 9}', "amount: is given twice"),
            ('{"amount": 1, "idempotencyKey": "A", "idempotency_key": "B"}', "in two spellings"),
            ('{"amount": 1e99999999999999999999}', "is not one JSON object"),
            ('{"\\ud800": 1}', "ud800: is no field"),
        ],
    )
    def test_bad_input_is_one_line(self, served: Sandbox, text: str, message: str) -> None:
        """
        What cannot be meant is refused, and nothing is sent.
        """
        result = call("case-payment", CASE, "--input", "-", "--json", stdin=text)

        assert 2 == result.exit_code
        assert message in result.stderr
        assert "not_sent" == document(result)["outcome"]
        assert 0 == served.received

    @pytest.mark.parametrize(
        ("redirections", "source", "message"),
        [
            ("", "/proc/self/mem", "Error: /proc/self/mem: Input/output error"),
            ("<&-", "-", "Error: standard input: is closed"),
            ("0>unreadable", "-", "Error: standard input: Bad file descriptor"),
        ],
    )
    def test_input_that_cannot_be_read_is_one_line(
        self, redirections: str, source: str, message: str
    ) -> None:
        """
        A file that breaks, or a standard input that is closed, is a wrong configuration.
        """
        result = run_with(redirections, "case-payment", CASE, "--input", source)

        assert 2 == result.returncode
        assert message == result.stderr.strip()

    def test_an_odd_header_hides_no_answer(self, served: Sandbox) -> None:
        """
        An answer's header that is no text does not cost the answer.
        """
        answer = CasePayment(
            payment_id="p",
            status="PAID",
            amount=Decimal("1.10"),
            created_at=datetime(2026, 11, 2, tzinfo=UTC),
            extra={"names": ["caf\udce9"]},
            meta=Meta(idempotency_key="k", request_id="caf\udce9"),
        )
        with contextlib.redirect_stdout(io.StringIO()) as out:
            assert print_json(plain.answer_document(answer))

        assert '"request_id":"caf\\\\udce9"' in out.getvalue()
        assert '"amount":1.10' in out.getvalue()

    def test_a_refused_key_names_the_credential(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        A wrong API key is 1, since the vendor said so, and the key is not repeated.
        """
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "wrong-secret")
        result = call("case-payment", CASE, "--amount", "1", "--description", "d")

        assert 1 == result.exit_code
        assert "Check the credential in the environment" in result.stderr
        assert "wrong-secret" not in result.output

    def test_a_missing_key_is_a_wrong_configuration(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Without a key nothing can be sent: 2.
        """
        monkeypatch.delenv("CAREVALIDATE_API_KEY")
        result = call("case-payment", CASE, "--amount", "1", "--description", "d")

        assert 2 == result.exit_code
        assert "CAREVALIDATE_API_KEY" in result.stderr
        assert "Nothing reached the vendor" in result.stderr

    def test_a_case_that_is_no_uuid_is_refused(self) -> None:
        """
        The path's parameter is checked like a field.
        """
        result = call("case-payment", "../x", "--amount", "1", "--description", "d")

        assert 2 == result.exit_code
        assert "case_id: is not a UUID" in result.stderr


class TestUpdateUser:
    def test_the_users_payment_is_updated(self, served: Sandbox) -> None:
        """
        A lone value is shown as it is, and an empty second line is sent.
        """
        result = call("update-user", *USER)

        assert "PAYMENT_SETUP_UPDATED\n" == result.stdout
        assert "" == served.user_updates[0].body["data"]["shippingAddress"]["addressLine2"]

    def test_all_of_it_can_come_from_a_file(self, served: Sandbox) -> None:
        """
        A JSON object in the model's words, in either spelling, replaces the options.
        """
        fields = {
            "email": "john@example.com",
            "stripeSetupId": "seti_1",
            "nmi_payment_token": "nmi",
            "shippingAddress": {
                "addressLine1": "1 Main St",
                "city": "Washington",
                "state": "DC",
                "country": "US",
                "postal_code": "20500",
            },
        }
        pathlib.Path("user.json").write_text(json.dumps(fields))
        result = call("update-user", "--input", "user.json", "--address-line2", "Apt 5", "--json")

        assert "PAYMENT_SETUP_UPDATED" == document(result)["code"]
        assert "Apt 5" == served.user_updates[0].body["data"]["shippingAddress"]["addressLine2"]

    def test_a_missing_nested_field_is_named_with_its_parent(self) -> None:
        """
        What is missing in the address is told from what is missing beside it.
        """
        result = call("update-user", *USER[:-2])

        assert 2 == result.exit_code
        assert "shipping_address.postal_code: is missing" in result.stderr

    def test_a_refusal_shows_no_personal_data(self) -> None:
        """
        The vendor's words name the user's email address; what is shown does not.
        """
        user = [part.replace("example.com", "unknown.example") for part in USER]
        result = call("update-user", *user, "--json")

        assert 1 == result.exit_code
        assert "The vendor refused it; nothing was recorded or changed." in result.stderr
        assert "Correct what the vendor names" in result.stderr
        assert "john" not in result.output

    def test_an_unknown_outcome_can_just_be_repeated(self, served: Sandbox) -> None:
        """
        An operation that sets state says that twice is harmless.
        """
        served.script(Fault.DROP_AFTER)
        result = call("update-user", *USER, *ONE_TRY)

        assert "so twice is harmless" in result.stderr


class TestUpdatePaymentMethod:
    def test_what_is_given_is_changed(self, served: Sandbox) -> None:
        """
        The body holds the changes, and what they are asked with.
        """
        result = call(
            *("update-payment-method", "42", "--exp-month", "5", "--exp-year", "2030"),
            *("--inactive", "--application", "planoorder", "--view", "full", "--json"),
        )
        body = served.method_updates[0].body

        assert 0 == result.exit_code
        assert 42 == document(result)["id"]
        assert {"exp_month": 5, "exp_year": 2030, "active": False} == body["payment_method"]
        assert ("planoorder", "full") == (body["application"], body["view"])

    def test_nothing_to_change_is_refused(self) -> None:
        """
        A call that changes nothing is a mistake.
        """
        result = call("update-payment-method", "42")

        assert 2 == result.exit_code
        assert "changes nothing" in result.stderr

    def test_the_embedded_sandbox_needs_no_configuration(
        self, monkeypatch: pytest.MonkeyPatch, served: Sandbox
    ) -> None:
        """
        --sandbox works without any variable, for both vendors.
        """
        for name in ("CAREVALIDATE_API_KEY", "PLANOCORE_TOKEN", "PLANOCORE_BASE_URL"):
            monkeypatch.delenv(name)
        plano = call("update-payment-method", "42", "--city", "Denver", "--sandbox")
        intent = call("intent", "--amount", "5", "--sandbox", "--attempt-timeout", "5")

        assert (0, 0) == (plano.exit_code, intent.exit_code)
        assert "id: 42" == plano.stdout.splitlines()[0]
        assert 0 == served.received


class TestAdvice:
    @pytest.mark.parametrize(
        ("error", "advice"),
        [
            (
                APIConnectionError("no route", outcome=Outcome.NOT_SENT, retryable=True),
                "Run the same command again; if",
            ),
            (
                RateLimitError("busy", outcome=Outcome.REJECTED, retryable=True),
                "Run the same command again; if",
            ),
            (InvalidRequestError("amount", "is bad"), "Correct that"),
            (CareValidateError(), "Correct what the vendor names"),
        ],
    )
    def test_it_fits_the_error(self, error: CareValidateError, advice: str) -> None:
        """
        What to do follows from the outcome, and then from the kind of error.
        """
        assert advice in plain.advice(error, CREATE_PAYMENT_INTENT)
        assert advice in plain.explain(error, CREATE_PAYMENT_INTENT)

    def test_the_facts_are_told_once(self) -> None:
        """
        What str() appends has lines of its own.
        """
        error = InternalServerError("broken", outcome=Outcome.UNKNOWN, idempotency_key="k")

        assert "What happened:   broken\n" in plain.explain(error, CREATE_CASE_PAYMENT)


class TestBuild:
    def test_none_is_as_good_as_absent(self) -> None:
        """
        An option that was not given leaves the field to the file, or unset.
        """
        built = plain.build(PaymentMethodUpdate, {"city": "Denver"}, {"city": None, "street": "x"})

        assert PaymentMethodUpdate(city="Denver", street="x") == built

    def test_numbers_are_exact(self) -> None:
        """
        An amount in a file is read digit by digit.
        """
        document = plain.read_document(b'{"amount": 0.10, "paymentMethodTypes": ["card"]}')

        assert PaymentIntentRequest(
            amount=Decimal("0.10"), payment_method_types=("card",)
        ) == plain.build(PaymentIntentRequest, document)


class TestInterruption:
    def test_a_signal_at_any_time_ends_the_call_and_nothing_else(self) -> None:
        """
        One that comes before the event loop runs cancels the call, one that comes after it does
        nothing: the last words can be said.
        """

        async def call(interruption: Interruption) -> None:
            interruption.attach()
            await asyncio.sleep(60)

        before = signal.getsignal(signal.SIGTERM)
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGTERM)
            with pytest.raises(asyncio.CancelledError):
                asyncio.run(call(interruption))
            os.kill(os.getpid(), signal.SIGTERM)

        assert before == signal.getsignal(signal.SIGTERM)
