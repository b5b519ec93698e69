from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from asking import (
    ADDRESS,
    CARE,
    CARE_FLAWS,
    CASE,
    CASE_PAYMENT,
    CONFIRMATION,
    GOOD,
    INTENT,
    METHOD_FLAWS,
    METHOD_UPDATE,
    PATH,
    USER_FLAWS,
    USER_UPDATE,
    Asker,
    changed,
    on_record,
)
from carevalidate_async.sandbox import Sandbox

if TYPE_CHECKING:
    from aiohttp import (
        ClientSession,
    )


class TestKeys:
    @pytest.mark.parametrize("operation", CARE)
    @pytest.mark.parametrize("key", [None, "wrong", ""])
    async def test_wrong_key(self, asker: Asker, operation: str, key: str | None) -> None:
        """A missing or wrong key is refused before the body is looked at."""
        said = await asker.ask(operation, {}, key=key)

        assert 401 == said.status
        assert {"status": 401, "error": "Invalid API key"} == said.fields
        assert 0 == on_record(asker.sandbox)

    async def test_organizations(self, plain_http: ClientSession) -> None:
        """Idempotency keys belong to an organization, which may have several API keys."""
        body = {**CONFIRMATION, "idempotencyKey": "k"}
        keys = {"one": "first", "two": "second", "uno": "first"}
        async with Sandbox(api_key=keys) as sandbox:
            asker = Asker(plain_http, sandbox)
            statuses = [(await asker.ask("confirm_payment", body, key=key)).status for key in keys]

            assert [200, 200, 409] == statuses
            assert ["first", "second"] == [payment.organization for payment in sandbox.payments]

    async def test_planocore_needs_no_key(self, asker: Asker) -> None:
        """The vendor planocore looks at the token in the body, not at CareValidate's header."""
        assert 200 == (await asker.ask("update_payment_method", key=None)).status

    @pytest.mark.parametrize(
        ("token", "slug"),
        [
            ("wrong", "invalid-token"),
            (7, "invalid-token"),
            ("expired", "session-expired"),
            ("client-required", "client-required"),
        ],
    )
    async def test_tokens(self, asker: Asker, token: object, slug: str) -> None:
        """A bad token is refused by slug; only a missing client comes with a session."""
        said = await asker.ask("update_payment_method", {**METHOD_UPDATE, "token": token})

        assert 401 == said.status
        assert slug == said.fields["status"]
        assert ("client-required" == slug) is ("session" in said.fields)

    async def test_magic_token_can_be_the_token(self, plain_http: ClientSession) -> None:
        """The sandbox's own token is good whatever it is called."""
        async with Sandbox(token="expired") as sandbox:
            body = {**METHOD_UPDATE, "token": "expired"}

            assert (
                200 == (await Asker(plain_http, sandbox).ask("update_payment_method", body)).status
            )


class TestIdempotency:
    @pytest.mark.parametrize("operation", ["confirm_payment", "create_case_payment"])
    async def test_repeated_key(self, asker: Asker, operation: str) -> None:
        """The same key again is a conflict, with the same content or another."""
        body = {**GOOD[operation][2], "idempotencyKey": "k"}
        first = await asker.ask(operation, body)
        again = await asker.ask(operation, body)
        other = await asker.ask(operation, {**body, "amount": 7})

        assert [200, 409, 409] == [first.status, again.status, other.status]
        assert "IDEMPOTENCY_ERROR" == again.fields["code"]
        assert ["k"] == [payment.idempotency_key for payment in asker.sandbox.payments]

    async def test_payment_operations_share_keys(self, asker: Asker) -> None:
        """A key that confirmed a payment cannot create a case payment."""
        await asker.ask("confirm_payment", {**CONFIRMATION, "idempotencyKey": "k"})
        said = await asker.ask("create_case_payment", {**CASE_PAYMENT, "idempotencyKey": "k"})

        assert 409 == said.status
        assert 1 == len(asker.sandbox.payments)

    async def test_no_key_no_conflict(self, asker: Asker) -> None:
        """Without a key each arrival is a payment."""
        for _ in range(2):
            await asker.ask("confirm_payment")

        assert [None, None] == [payment.idempotency_key for payment in asker.sandbox.payments]

    async def test_a_bad_repeat_is_bad_first(self, asker: Asker) -> None:
        """The body is checked before its key is looked up, and a bad body uses no key up."""
        body = {**CONFIRMATION, "idempotencyKey": "k"}
        bad = await asker.ask("confirm_payment", {**body, "amount": -1})
        good = await asker.ask("confirm_payment", body)
        again = await asker.ask("confirm_payment", {**body, "amount": -1})

        assert [400, 200, 400] == [bad.status, good.status, again.status]


class TestAnswers:
    async def test_confirmation(self, asker: Asker) -> None:
        """A confirmation is answered and recorded as it came."""
        body = {**CONFIRMATION, "idempotencyKey": "k", "amount": 1.10}
        before = datetime.now(UTC)
        said = await asker.ask("confirm_payment", body)
        (payment,) = asker.sandbox.payments

        assert {"status": 200, "success": True} == said.fields
        assert "confirm_payment" == payment.operation
        assert "default" == payment.organization
        assert "case-1" == payment.case_id
        assert Decimal("1.1") == payment.body["amount"]
        assert payment.raw == asker.sandbox.bodies[0]
        assert before <= payment.at <= datetime.now(UTC)

    @pytest.mark.parametrize(
        ("sent", "answered"),
        [
            ("100", "100"),
            ("100.00", "100"),
            ("1.15", "1.15"),
            ("0.1", "0.1"),
            ("999999999999.99", "999999999999.99"),
            ("1e2", "100"),
        ],
    )
    async def test_case_payment(self, asker: Asker, sent: str, answered: str) -> None:
        """A created case payment is answered with its id, time and exact amount."""
        text = json.dumps(CASE_PAYMENT).replace("100", sent)
        said = await asker.send(*GOOD["create_case_payment"][:2], data=text.encode())
        result = said.fields["data"]["result"]
        (payment,) = asker.sandbox.payments

        assert f'"amount": {answered},' in said.text
        assert "UNPAID" == result["status"]
        assert "A visit" == result["description"]
        assert payment.id == result["paymentId"]
        assert 0 <= (payment.at - datetime.fromisoformat(result["createdAt"])).total_seconds() < 1
        assert CASE == payment.case_id

    async def test_case_payment_keeps_its_status(self, asker: Asker) -> None:
        """A status that the page does not list is taken, and given back."""
        body = {**CASE_PAYMENT, "status": "ON_HOLD", "preauthorize": True, "productId": CASE}
        said = await asker.ask("create_case_payment", body)

        assert "ON_HOLD" == said.fields["data"]["result"]["status"]

    async def test_intents_differ(self, asker: Asker) -> None:
        """Each intent has a secret of its own, which begins with its id."""
        said = [await asker.ask("create_payment_intent") for _ in range(2)]
        secrets = [one.fields["data"]["paymentIntentSecret"] for one in said]

        assert 2 == len(set(secrets))
        assert secrets[0].startswith(f"{asker.sandbox.intents[0].id}_secret_")
        assert [] == asker.sandbox.payments

    async def test_user_update(self, asker: Asker) -> None:
        """An updated user is answered by a code."""
        said = await asker.ask("update_user_payment")

        assert {"code": "PAYMENT_SETUP_UPDATED"} == said.fields["data"]
        assert ADDRESS == asker.sandbox.user_updates[0].body["data"]["shippingAddress"]

    async def test_method_updates_add_up(self, asker: Asker) -> None:
        """A payment method keeps what earlier updates set."""
        await asker.ask("update_payment_method")
        body = {**METHOD_UPDATE, "payment_method": {"active": False, "street2": ""}}
        said = await asker.ask("update_payment_method", body)

        expected = {"id": 42, "exp_month": 5, "active": False, "street2": ""}
        assert {"status": "action-successful", "data": expected} == said.fields
        assert ["42", "42"] == [update.id for update in asker.sandbox.method_updates]


class TestChecks:
    @pytest.mark.parametrize(
        ("operation", "change", "message"),
        [(name, *flaw) for name, flaws in CARE_FLAWS.items() for flaw in flaws],
    )
    async def test_payment_flaws(
        self, asker: Asker, operation: str, change: dict[str, Any], message: str
    ) -> None:
        """A flaw in a payment or an intent is refused in words, and nothing is recorded."""
        said = await asker.ask(operation, changed(operation, change))

        assert 400 == said.status
        assert {"success": False, "message": message} == said.fields
        assert 0 == on_record(asker.sandbox)

    @pytest.mark.parametrize(("change", "error"), USER_FLAWS)
    async def test_user_flaws(self, asker: Asker, change: dict[str, Any], error: str) -> None:
        """A flaw in a user's update stands beside the message of its page."""
        body = changed("update_user_payment", change)
        said = await asker.ask("update_user_payment", body)

        expected = {"status": 400, "success": False, "message": "Invalid request", "error": error}
        assert expected == said.fields
        assert 400 == said.status
        assert 0 == on_record(asker.sandbox)

    @pytest.mark.parametrize(("change", "slug"), METHOD_FLAWS)
    async def test_method_flaws(self, asker: Asker, change: dict[str, Any], slug: str) -> None:
        """A flaw in a payment method's update is told by its slug."""
        body = changed("update_payment_method", change)
        said = await asker.ask("update_payment_method", body)

        assert 400 == said.status
        assert slug == said.fields["status"]
        assert 0 == on_record(asker.sandbox)

    async def test_case_id_is_a_uuid(self, asker: Asker) -> None:
        """A case id that is no UUID is a bad request, not another page."""
        said = await asker.send(
            "POST", "/api/v1/cases/a%2Fb/payments", data=json.dumps(CASE_PAYMENT).encode()
        )

        assert 400 == said.status
        assert {"success": False, "message": "caseId must be a UUID"} == said.fields

    async def test_zero_can_be_confirmed(self, asker: Asker) -> None:
        """A waived payment is confirmed with an amount of zero, in whatever notation."""
        for amount in ("0", "0.00", "-0.0", "0e999999"):
            text = json.dumps(CONFIRMATION).replace("50", amount)

            assert 200 == (await asker.send("POST", PATH, data=text.encode())).status

    async def test_known_users_and_setups(self, plain_http: ClientSession) -> None:
        """What the sandbox is told of is all there is."""
        async with Sandbox(users=["john@example.com"], setup_intents=["seti_1"]) as sandbox:
            asker = Asker(plain_http, sandbox)
            other = {**USER_UPDATE, "email": "mary@example.com"}
            setup = json.loads(json.dumps(USER_UPDATE).replace("seti_1", "seti_2"))
            said = [await asker.ask("update_user_payment", body) for body in (None, other, setup)]

            assert [200, 400, 400] == [one.status for one in said]
            assert "User mary@example.com does not exist" == said[1].fields["error"]
            assert "No such setupintent: 'seti_2'" == said[2].fields["error"]

    async def test_known_types_and_methods(self, plain_http: ClientSession) -> None:
        """Payment method types and ids can be limited too."""
        async with Sandbox(payment_method_types=["card"], payment_methods=[42]) as sandbox:
            asker = Asker(plain_http, sandbox)
            klarna = {**INTENT, "paymentMethodTypes": ["card", "klarna"]}
            said = [
                await asker.ask("create_payment_intent"),
                await asker.ask("create_payment_intent", klarna),
                await asker.ask("update_payment_method"),
                await asker.ask("update_payment_method", {**METHOD_UPDATE, "id": 43}),
            ]

            assert [200, 400, 200, 400] == [one.status for one in said]
            assert "invalid-param" == said[3].fields["status"]

    @pytest.mark.parametrize("operation", GOOD)
    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"[]",
            b"null",
            b'"text"',
            b"7",
            b"{} {}",
            b'{"amount": NaN}',
            b'{"amount": -Infinity}',
            b'{"amount": 1e99999999999999999999}',
            b'{"amount": 1e9999999}',
            b'{"amount": -1e9999999, "id": 1e999999}',
            b'{"amount": 1e-9999999}',
            b'{"amount": ' + b"9" * 5000 + b"}",
            b'{"amount": 1, "description": "\\ud800"}',
            b'{"description": "\xff"}',
            b'\xef\xbb\xbf{"amount": 1}',
            "{}".encode("utf-16"),
            b"[" * 100_000,
            b'{"a":' * 100_000,
            b'{"metadata": ' + b"[" * 900 + b"]" * 900 + b', "amount": 1}',
            b'{"data": "\x00"}',
            b"--x\r\n",
        ],
    )
    async def test_not_a_request(self, asker: Asker, operation: str, body: bytes) -> None:
        """Whatever the body, it is refused as a bad request and never crashes the sandbox."""
        method, path, _ = GOOD[operation]
        said = await asker.send(method, path, data=body)

        assert 400 == said.status
        assert isinstance(said.fields, dict)
        assert 0 == on_record(asker.sandbox)

    @pytest.mark.parametrize("operation", GOOD)
    async def test_extreme_amounts(self, asker: Asker, operation: str) -> None:
        """A good body with an amount or id beyond all bounds is a bad request."""
        method, path, good = GOOD[operation]
        name = "id" if "id" in good else "amount"
        for number in (
            "1e9999999",
            "-1e9999999",
            "1e-9999999",
            "1" + "0" * 4000,
            "0.1" + "0" * 99 + "1",
        ):
            text = json.dumps({**good, name: "#"}).replace('"#"', number)

            assert 400 == (await asker.send(method, path, data=text.encode())).status

    async def test_escapes_are_text(self, asker: Asker) -> None:
        """Paired surrogates spell a character like any other."""
        body = {**CONFIRMATION, "description": "\N{PILL}"}

        assert 200 == (await asker.ask("confirm_payment", body)).status
        assert "\N{PILL}" == asker.sandbox.payments[0].body["description"]

    @pytest.mark.parametrize("operation", GOOD)
    @pytest.mark.parametrize("content_type", ["text/plain", "application/jsonx", ""])
    async def test_content_type(self, asker: Asker, operation: str, content_type: str) -> None:
        """A good body of another content type is refused."""
        method, path, body = GOOD[operation]
        said = await asker.send(
            method, path, data=json.dumps(body).encode(), content_type=content_type
        )

        assert 400 == said.status
        assert ("invalid-content-type" in said.text) is ("update_payment_method" == operation)
        assert 0 == on_record(asker.sandbox)

    async def test_content_type_parameters(self, asker: Asker) -> None:
        """The content type may have parameters and any case."""
        body = json.dumps(CONFIRMATION).encode()
        said = await asker.send("POST", PATH, data=body, content_type="Application/JSON; charset=x")

        assert 200 == said.status

    @pytest.mark.parametrize("operation", GOOD)
    async def test_too_large(self, plain_http: ClientSession, operation: str) -> None:
        """A body beyond the limit is answered with 413 and kept out."""
        async with Sandbox(max_body=1000) as sandbox:
            method, path, _ = GOOD[operation]
            said = await Asker(plain_http, sandbox).send(method, path, data=b" " * 1001)

            assert 413 == said.status
            assert isinstance(said.fields, dict)
            assert [b""] == sandbox.bodies
            assert [413] == [request.status for request in sandbox.requests]

    async def test_too_large_for_no_operation(self, plain_http: ClientSession) -> None:
        """The limit holds on every path."""
        async with Sandbox(max_body=10) as sandbox:
            said = await Asker(plain_http, sandbox).send("POST", "/x", data=b" " * 11)

            assert 413 == said.status
