"""
A real HTTP server on loopback that answers as both vendors' pages document.

- `Sandbox`: the server; it keeps what it put on record and the requests that arrived.
- `Fault`: what goes wrong with a request, as scripted or by chance.
- `RecordedPayment`, `Recorded`: what is on record.
- `ReceivedRequest`: a request that arrived, and what became of it; `Reply`: what it was answered.

Its URL is a page on which people watch requests arrive, look into each and turn faults on.

It takes each operation's method and path from the operation itself, and reads and checks bodies on
its own, so that it judges what the client sends. It is stricter than the pages: it also refuses
fields that they do not list, and amounts finer than a cent.

The folder `page` holds the page's own files, as the browser gets them.

| file | purpose |
|---|---|
| `_answers.py` | the documented bodies |
| `_checks.py` | what a body's field may hold |
| `_judge.py` | whether a request is good; pure functions |
| `_ledger.py` | what is on record, idempotency per organization |
| `_faults.py` | what can go wrong, scripted or at random |
| `_meter.py` | how many requests a second are admitted |
| `_routes.py` | which operation a request line means |
| `_exchanges.py` | the requests that arrived, as many as are kept |
| `_handler.py` | takes a request in, and does to the wire what its fault says |
| `_mask.py` | what of an exchange may be shown |
| `_copies.py` | a request as a command or a script to run |
| `_controls.py` | what the page can change |
| `_view.py` | a request as the page shows it |
| `_guard.py` | who may ask for the page |
| `_feed.py` | what arrived, as server-sent events |
| `_page.py` | serves the page |
| `_server.py` | the server's life: `Sandbox` |
| `openapi.json` | what it serves at `/openapi.json` |
"""

from __future__ import annotations

from carevalidate_async.sandbox._answers import Reply
from carevalidate_async.sandbox._exchanges import ReceivedRequest
from carevalidate_async.sandbox._faults import Fault
from carevalidate_async.sandbox._ledger import Recorded, RecordedPayment
from carevalidate_async.sandbox._server import Sandbox

__all__ = ["Fault", "ReceivedRequest", "Recorded", "RecordedPayment", "Reply", "Sandbox"]
