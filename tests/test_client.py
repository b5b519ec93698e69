from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import pytest

from calls import AT_ONCE, CALLS, CONFIRM, METHOD, ONCE, PAYMENT, UPDATE_METHOD, Calling
from carevalidate_async import (
    APIConnectionError,
    BadRequestError,
    CareValidate,
    ConfigurationError,
    IdempotencyConflictError,
    InvalidRequestError,
    Outcome,
    PaymentConfirmation,
)
from carevalidate_async._client import Client
from carevalidate_async.planocore import Planocore
from carevalidate_async.sandbox import Fault
from raw_server import RawServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from carevalidate_async.sandbox import Sandbox

URL = "http://127.0.0.1:9"


class TestBothClients:
    @pytest.mark.parametrize("calling", CALLS, ids=repr)
    async def test_each_operation(self, sandbox: Sandbox, calling: Calling) -> None:
        """Each operation is one request, and its answer the documented one."""
        async with calling.client(sandbox.url) as client:
            answer = await calling.ask(client)

        assert isinstance(answer, calling.operation.gives)
        assert 1 == len(calling.records(sandbox))
        assert [calling.operation.name] == [request.operation for request in sandbox.requests]
        assert (200, "sandbox-1", 1) == (
            answer.meta.status,
            answer.meta.request_id,
            len(answer.meta.attempts),
        )

    @pytest.mark.parametrize("vendor", [CareValidate, Planocore])
    async def test_repr(self, vendor: type[CareValidate | Planocore]) -> None:
        """A client shows its class, where it sends, and whether it is closed."""
        client = vendor("canary", base_url=URL)
        before = repr(client)
        await client.aclose()

        name = vendor.__name__
        assert [f"<{name} at {URL}>", f"<{name} at {URL}, closed>"] == [before, repr(client)]

    @pytest.mark.parametrize("vendor", [CareValidate, Planocore])
    async def test_with_options_keeps_the_class(
        self, vendor: type[CareValidate | Planocore]
    ) -> None:
        """A client with other options is one of the same kind."""
        async with vendor("test", base_url=URL) as client:
            other = client.with_options(retry=ONCE)

        assert (vendor, True) == (type(other), other is not client)

    @pytest.mark.parametrize("vendor", [CareValidate, Planocore])
    def test_is_not_pickled(self, vendor: type[CareValidate | Planocore]) -> None:
        """A client holds connections and a secret, so it does not go to another process."""
        with pytest.raises(TypeError, match="credential"):
            pickle.dumps(vendor("canary", base_url=URL))

    async def test_close_twice(self) -> None:
        """Closing again, by either way, does nothing."""
        client = CareValidate("test", base_url=URL)
        async with client:
            await client.aclose()
        await client.aclose()

        assert client.closed

    async def test_enter_gives_the_client(self) -> None:
        """The block of a client holds that very client, and an error in it gets out."""
        client = CareValidate("test", base_url=URL)

        async def enter() -> None:
            async with client as inside:
                assert client is inside
                raise LookupError

        with pytest.raises(LookupError):
            await enter()

        assert client.closed

    async def test_parent(self) -> None:
        """Both clients are of one kind."""
        assert issubclass(CareValidate, Client)
        assert issubclass(Planocore, Client)


class TestCareValidate:
    async def test_accept_duplicate(self, sandbox: Sandbox, care: CareValidate) -> None:
        """A key that is on record raises, unless that was expected; neither adds a record."""
        first = await care.confirm_payment(PAYMENT)
        again = PaymentConfirmation(
            case_id=PAYMENT.case_id,
            amount=PAYMENT.amount,
            payment_date=PAYMENT.payment_date,
            valid_until=PAYMENT.valid_until,
            status=PAYMENT.status,
            idempotency_key=first.meta.idempotency_key,
        )
        with pytest.raises(IdempotencyConflictError) as caught:
            await care.confirm_payment(again)
        second = await care.confirm_payment(again, accept_duplicate=True)

        assert Outcome.RECORDED is caught.value.outcome
        assert (False, True) == (first.meta.already_recorded, second.meta.already_recorded)
        assert first.meta.idempotency_key == second.meta.idempotency_key
        assert (1, 3) == (len(sandbox.payments), sandbox.received)

    async def test_case_id_is_checked(self, sandbox: Sandbox, care: CareValidate) -> None:
        """What is no UUID never gets into the path."""
        with pytest.raises(InvalidRequestError, match="case_id"):
            await care.create_case_payment("../users", PAYMENT)  # type: ignore[arg-type]  # on purpose

        assert 0 == sandbox.received

    async def test_many(self, sandbox: Sandbox, care: CareValidate) -> None:
        """The client confirms many payments too."""
        rows = [row async for row in care.confirm_payments([PAYMENT] * 5, concurrency=2)]

        assert [0, 1, 2, 3, 4] == sorted(row.index for row in rows)
        assert {Outcome.RECORDED} == {row.outcome for row in rows}
        assert 5 == len(sandbox.payments)

    @pytest.mark.parametrize("environment", ["", "live", "Production"])
    def test_unknown_environment(self, environment: str) -> None:
        """An environment that there is not is refused, rather than taken for production."""
        with pytest.raises(ConfigurationError, match="environment"):
            CareValidate("test", environment=environment)


class TestPlanocore:
    async def test_options_go_with_the_request(self, sandbox: Sandbox) -> None:
        """The application goes with each request, a view with its own, also with other options."""
        async with Planocore("test", base_url=sandbox.url, application="planoorder") as plano:
            await plano.update_payment_method(42, METHOD, view="card")
            await plano.with_options(retry=AT_ONCE).update_payment_method(43, METHOD)

        first, second = (update.body for update in sandbox.method_updates)
        assert (42, "planoorder", "card") == (first["id"], first["application"], first["view"])
        assert (43, "planoorder", False) == (
            second["id"],
            second["application"],
            "view" in second,
        )

    async def test_token_is_in_the_body(self) -> None:
        """The token travels in the body alone."""
        async with RawServer() as server, UPDATE_METHOD.client(server.url) as plano:
            await UPDATE_METHOD.ask(plano)

        assert b'"token":"test"' in server.bodies[0]
        assert b"cv-api-key" not in server.requests[0].head


class TestErrorsTravel:
    @pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
    async def test_whole(self, sandbox: Sandbox, how: str) -> None:
        """An error of a real call survives pickling and copying, attempts and body included."""
        sandbox.script(
            Fault.DROP_BEFORE, Fault.HTML(status=400, body='{"success": false, "message": "no"}')
        )
        async with CONFIRM.client(sandbox.url) as client:
            with pytest.raises(BadRequestError) as caught:
                await CONFIRM.ask(client)
        error = caught.value
        copies: dict[str, Callable[[BadRequestError], BadRequestError]] = {
            "pickle": lambda given: pickle.loads(pickle.dumps(given)),  # noqa: S301 - our own
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
        }
        other = copies[how](error)

        assert error is not other
        assert (type(error), str(error), vars(error)) == (type(other), str(other), vars(other))
        assert 2 == len(other.attempts)
        assert {"success": False, "message": "no"} == other.body

    async def test_without_an_answer(self) -> None:
        """So does one that has a cause, though the cause stays behind."""
        async with CONFIRM.client(URL) as client:
            with pytest.raises(APIConnectionError) as caught:
                await CONFIRM.ask(client)
        other = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes

        assert isinstance(caught.value.__cause__, ConnectionRefusedError)
        assert caught.value.attempts == other.attempts
        assert (4, Outcome.NOT_SENT, True) == (len(other.attempts), other.outcome, other.retryable)
