"""The end of taking messages, before the application has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from carevalidate_async.integrations.faststream._raw import ends_app

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from faststream._internal.broker import BrokerUsecase

__all__ = ["ends", "halt"]


class Subscriber(Protocol):
    """A subscriber of FastStream; it reads on while it is running."""

    running: bool


def halt(subscribers: Iterable[Subscriber]) -> None:
    """
    Let *subscribers* read nothing more, as their own ``stop()`` begins; what they have goes on.

    An application takes a while to end. Subscribers that read on would take what nobody works on,
    and have it counted as delivered.
    """
    for subscriber in subscribers:
        subscriber.running = False


def ends(
    broker: BrokerUsecase[Any, Any, Any],
    subscribers: Iterable[Subscriber],
    also: Callable[[str], None] | None,
) -> Callable[[str], None]:
    """Return what halts *subscribers* and ends the application of *broker*, then calls *also*."""
    end_app = ends_app(broker, also)

    def end(reason: str) -> None:
        halt(subscribers)
        end_app(reason)

    return end
