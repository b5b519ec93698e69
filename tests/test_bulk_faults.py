from __future__ import annotations

import json
import pathlib
import subprocess
import sys

import pytest

from carevalidate_async.sandbox import Fault
from cli_support import HEADER, good, running_sandbox

ROWS = 10_000


@pytest.mark.deep
@pytest.mark.timeout(180)
class TestEveryFault:
    def test_each_of_10_000_payments_is_on_record_exactly_once(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        While every fault there is meets 2 % of the requests, the run ends well, each payment is on
        record once, and each request that arrived is one that the run counted.
        """
        assert len(Fault.EVERY) > 9
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        file = pathlib.Path("payments.csv")
        file.write_text(HEADER + "".join(map(good, range(ROWS))))
        with running_sandbox(
            api_key="test", fault_rate=0.02, seed=20260105, keep_requests=1
        ) as sandbox:
            result = subprocess.run(
                [
                    *(sys.executable, "-m", "carevalidate_async", "confirm", str(file), "--json"),
                    *("--base-url", sandbox.url, "--concurrency", "200"),
                    *("--attempt-timeout", "1"),
                ],
                capture_output=True,
                text=True,
                check=False,
            )
        found = json.loads(result.stdout.splitlines()[-1])

        assert 0 == result.returncode
        assert ROWS == found["rows"] == found["confirmed"] + found["already_recorded"]
        assert ROWS == len(sandbox.payments)
        assert {f"case-{n}" for n in range(ROWS)} == {p.case_id for p in sandbox.payments}
        assert sandbox.received == found["attempts"]
        assert found["attempts"] > 1.1 * ROWS
