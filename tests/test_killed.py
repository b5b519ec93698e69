from __future__ import annotations

import json
import pathlib
import random
import shutil
import signal
import sqlite3
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import pytest

from cli_support import HEADER, good, running_sandbox, start, wait_for

if TYPE_CHECKING:
    import subprocess

    from carevalidate_async.sandbox import ReceivedRequest, Sandbox

ROWS = 20_000
KILLS = 20
JOURNAL = "run.journal"


def on_record(folder: pathlib.Path) -> set[str]:
    """Return the keys that the journal of a killed run has on record, without touching it."""
    copies = folder / "copies"
    shutil.rmtree(copies, ignore_errors=True)
    copies.mkdir()
    for file in folder.glob(f"{JOURNAL}*"):
        shutil.copy(file, copies)
    if not (copies / JOURNAL).exists():
        return set()
    db = sqlite3.connect(copies / JOURNAL)
    try:
        if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            return set()
        query = "SELECT key FROM rows WHERE state IN ('confirmed', 'already_recorded')"
        return {key for (key,) in db.execute(query)}
    finally:
        db.close()


def key_of(request: ReceivedRequest) -> str | None:
    return json.loads(request.body)["idempotencyKey"] if request.body else None


def run_of(sandbox: Sandbox) -> subprocess.Popen[str]:
    return start(
        *("confirm", "payments.csv", "--json", "--journal", JOURNAL, "--base-url", sandbox.url),
        *("--attempt-timeout", "1", "--report", "run.html"),
    )


@pytest.mark.deep
@pytest.mark.timeout(400)
class TestKilled:
    def test_at_many_moments_each_payment_is_on_record_once(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        A run that is killed (SIGKILL) at twenty random moments, and resumed each time, while every
        fault meets 1 % of the requests, ends with status 0 and each payment on record once; it
        counts what the vendor has, and no row that a resume knew to be on record was sent by it.
        """
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(ROWS))))
        moments = random.Random(20261121)
        sent_again: list[str | None] = []
        steps: list[int] = []
        with running_sandbox(api_key="test", fault_rate=0.01, seed=7) as sandbox:

            def asked(count: int) -> bool:
                return sandbox.received > count

            def run(kill: int | None = None) -> tuple[int, str]:
                """Run to the end, or until a kill; note what was sent although it was known."""
                known, before = on_record(tmp_path), sandbox.received
                process = run_of(sandbox)
                if kill is not None:
                    if kill % 4:
                        wait_for(partial(asked, before))
                    time.sleep(moments.uniform(0, 0.8))
                    process.send_signal(signal.SIGKILL)
                output, _ = process.communicate()
                steps.append(len(known))
                keys = [key_of(request) for request in sandbox.requests[before:]]
                sent_again.extend(key for key in keys if key in known)
                return process.returncode, output

            for kill in range(KILLS):
                run(kill)
            status, output = run()
            payments = sandbox.payments
        found = json.loads(output.splitlines()[-1])

        assert 0 == status
        assert [] == sent_again
        assert len({*steps}) > KILLS / 2  # most were killed in the midst of their work
        assert ROWS == len(payments)
        assert {f"case-{n}": 1 for n in range(ROWS)} == Counter(p.case_id for p in payments)
        assert ROWS == found["rows"] == found["confirmed"] + found["already_recorded"]
        assert {p.idempotency_key for p in payments} == on_record(tmp_path)
        assert (0, 0, 0, 0, 0) == tuple(
            found[name] for name in ("rejected", "invalid", "duplicates", "unknown", "not_sent")
        )
