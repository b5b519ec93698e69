"""
Helps to test what uses the package, in pytest, unittest or anything else.

- `BackgroundSandbox`: both vendors on a thread of their own, for tests that are no coroutines; it
  knows what to assert about the money.
- `no_waiting`: under it no retry waits, and the delays are listed.
- `only_loopback`: under it no client reaches another host.
- `as_sent`: for those who mock aiohttp by aioresponses.

Under pytest the fixtures of `carevalidate_async.pytest_plugin` use the first three, and nothing has
to be imported::

    async def test_confirm(carevalidate_client, carevalidate_sandbox):
        await confirm_invoice(carevalidate_client, INVOICE)

        carevalidate_sandbox.assert_recorded(case_id="case-1", amount=50)

Importing it loads the sandbox, and with it aiohttp's server.

| file | purpose |
|---|---|
| `_waiting.py` | delays that pass at once |
| `_loopback.py` | a guard against real vendors |
| `_mocks.py` | a mocked request that somebody reads |
| `_records.py` | what is on record, in the words of the models, and without personal data |
| `_assertions.py` | what must be true of it, and what is said where it is not |
| `_thread.py` | an event loop on a thread |
| `_background.py` | the sandbox on its thread: `BackgroundSandbox` |
"""

from __future__ import annotations

from carevalidate_async.testing._background import BackgroundSandbox
from carevalidate_async.testing._loopback import only_loopback
from carevalidate_async.testing._mocks import as_sent
from carevalidate_async.testing._waiting import no_waiting

__all__ = ["BackgroundSandbox", "as_sent", "no_waiting", "only_loopback"]
