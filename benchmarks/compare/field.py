"""The contenders that there are."""

from __future__ import annotations

from benchmarks.compare import bare, ours, peers
from benchmarks.compare.contender import Contender, of_calls

NAIVE = Contender("aiohttp", of_calls(bare.naive))
AGAIN = Contender("aiohttp, again", of_calls(bare.naive))
TUNED = Contender("aiohttp, tuned", of_calls(bare.tuned))
LIMIT = Contender("the limit: a bare protocol", of_calls(bare.limit))
CALL = Contender("carevalidate-async", of_calls(ours.calls))
BULK = Contender("carevalidate-async, bulk", ours.bulk)
JOURNAL = Contender("carevalidate-async, bulk with journal", ours.bulk_with_journal)
FAULTS = Contender("carevalidate-async, 5 % faults", of_calls(ours.calls_that_fail))
BULK_FAULTS = Contender("carevalidate-async, bulk, 5 % faults", ours.bulk_that_fails)
OURS = (CALL, FAULTS, BULK, BULK_FAULTS, JOURNAL)
PEERS = (
    Contender("pyreqwest", of_calls(peers.pyreqwest)),
    Contender("aiohttp-retry", of_calls(peers.aiohttp_retry)),
    Contender("elastic-transport", of_calls(peers.elastic_transport)),
    Contender("azure-core", of_calls(peers.azure_core), share=0.5),
    Contender("stripe on aiohttp", of_calls(peers.stripe_aiohttp), share=0.5),
    Contender("stripe on httpx", of_calls(peers.stripe_httpx), share=0.1),
    Contender("openai on aiohttp", of_calls(peers.openai_aiohttp), share=0.2),
    Contender("openai", of_calls(peers.openai_default), share=0.1),
    Contender("httpx", of_calls(peers.httpx), share=0.1),
)
HOUSE = (AGAIN, TUNED, LIMIT, *OURS)
"""Those that need no library but ours."""

LOOPS = tuple(
    Contender(f"carevalidate-async on {loop}", of_calls(ours.calls), loop=loop)
    for loop in ("uvloop", "aiofastnet", "uvloop and aiofastnet")
)
"""Event loops that a program may choose; all others play on the table's."""

ALL = (*HOUSE, *PEERS)


def contender_named(name: str) -> Contender:
    """Return the contender of this name."""
    return next(contender for contender in (NAIVE, *ALL, *LOOPS) if contender.name == name)
