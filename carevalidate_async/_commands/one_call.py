"""A single call: made, and its answer shown, or what its error means."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from carevalidate_async._commands.command import INTERRUPTED, Options, StopError, open_input
from carevalidate_async._commands.output import print_json, say
from carevalidate_async._commands.signals import Interruption

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from carevalidate_async._operation import Operation
    from carevalidate_async.models import Answer


def one_call(
    operation: Operation[Any, Any],
    options: Options,
    *layers: Mapping[str, Any],
    connect: Callable[[contextlib.AsyncExitStack, Options], Awaitable[Any]],
    before: tuple[object, ...] = (),
    **arguments: object,
) -> int:
    """
    Carry out one call and show its answer, or what its error means.

    Args:
        operation: Which one.

        options: Of the command.

        layers: The request's fields; later ones win.

        connect: Makes the client.

        before: Arguments before the request.

        arguments: Further ones.
    """
    import asyncio

    from carevalidate_async._commands import plain
    from carevalidate_async.errors import (
        AnswerLostError,
        CareValidateError,
        ConfigurationError,
        InvalidRequestError,
        Outcome,
    )

    async def call(request: object, interruption: Interruption) -> Answer:
        interruption.attach()
        async with contextlib.AsyncExitStack() as stack:
            client = await connect(stack, options)
            answer: Answer = await getattr(client, operation.name)(*before, request, **arguments)
            return answer

    def fail(error: CareValidateError) -> int:
        say(plain.explain(error, operation), sys.stderr)
        if options["as_json"]:
            print_json(plain.error_document(error, operation))
        return 2 if isinstance(error, InvalidRequestError | ConfigurationError) else 1

    def interrupted(outcome: Outcome, key: str | None) -> int:
        again = outcome is Outcome.NOT_SENT or operation.idempotency.repeatable
        lost = AnswerLostError("interrupted", outcome=outcome, retryable=again, idempotency_key=key)
        fail(lost)
        return INTERRUPTED

    try:
        source = options["source"]
        document = {} if source is None else plain.read_document(_read(source))
        request, key = plain.keyed(plain.build(operation.takes, document, *layers), operation)
    except CareValidateError as error:
        return fail(error)
    except KeyboardInterrupt:
        return interrupted(Outcome.NOT_SENT, None)
    with Interruption() as interruption:
        try:
            answer = asyncio.run(call(request, interruption))
        except CareValidateError as error:
            return fail(error)
        except asyncio.CancelledError:
            return interrupted(Outcome.UNKNOWN, key)  # nobody knows better
        return _show(answer, key, as_json=options["as_json"])


def _show(answer: Answer, key: str | None, *, as_json: bool) -> int:
    from carevalidate_async._commands import plain

    if as_json:
        shown = print_json(plain.answer_document(answer))
    else:
        shown = say(plain.answer_text(answer), sys.stdout)
    if not shown:
        under = "" if key is None else f", under the idempotency key {key}"
        say(f"Error: it was carried out{under}, but its answer could not be shown", sys.stderr)
    return 0 if shown else 1


def _read(source: str) -> bytes:
    name = "standard input" if source == "-" else source
    if source == "-" and sys.stdin is None:
        raise StopError(f"{name}: is closed")
    try:
        if source == "-":
            return sys.stdin.buffer.read()
        with open_input(source) as stream:
            return stream.read()
    except OSError as error:
        raise StopError(f"{name}: {error.strerror}") from None
