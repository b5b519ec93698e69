from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import attrs
import nats
import pytest

from brokers import NatsServer, processes
from carevalidate_async._jobs.ledger import DURABLE, Ledger
from carevalidate_async._jobs.messages import WORK
from carevalidate_async.sandbox import Fault
from cli_support import HEADER, good, running_sandbox, start, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carevalidate_async.sandbox import Sandbox

ROOT = pathlib.Path(__file__).parent.parent
COUNTED = (
    *("rows", "confirmed", "already_recorded", "rejected", "invalid", "duplicates", "unknown"),
    *("not_sent", "attempts", "exit_status"),
)


@pytest.fixture
def server(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NatsServer]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
    with NatsServer(tmp_path / "streams") as running:
        monkeypatch.setenv("CAREVALIDATE_BROKER", running.url)
        yield running


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "carevalidate_async", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)


def document(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert result.stdout, result.stderr
    found: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return found


def counted(result: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    found = document(result)
    assert result.returncode == found["exit_status"]
    return {name: found[name] for name in COUNTED}


def worker(sandbox: Sandbox, *options: str) -> subprocess.Popen[str]:
    return start("worker", "--base-url", sandbox.url, "--ack-wait", "3", *options)


def end(*workers: subprocess.Popen[str]) -> list[int]:
    """Tell workers to end (SIGTERM), and return their statuses."""
    for process in workers:
        process.send_signal(signal.SIGTERM)
    for process in workers:
        process.communicate(timeout=30)
    return [process.returncode for process in workers]


@contextlib.contextmanager
def crew(sandbox: Sandbox, size: int = 2, *options: str) -> Iterator[list[Any]]:
    with processes() as started:
        started.extend(worker(sandbox, *options) for _ in range(size))
        yield started
        for process in started:
            if process.stdout is not None and not process.stdout.closed:
                process.kill()
                process.communicate()


def on_broker(server: NatsServer, look: Any) -> Any:
    """Return what *look* finds on the broker."""

    async def looked() -> Any:
        connection = await nats.connect(server.url)
        try:
            return await look(connection.jetstream())
        finally:
            await connection.close()

    return asyncio.run(looked())


def waiting(server: NatsServer) -> int:
    """Return how many rows the queue has, those that are held among them."""

    async def look(js: Any) -> Any:
        return (await js.stream_info(WORK)).state.messages

    return int(on_broker(server, look))


def held(server: NatsServer) -> int:
    """Return how many rows workers hold."""

    async def look(js: Any) -> Any:
        return (await js.consumer_info(WORK, DURABLE)).num_ack_pending

    return int(on_broker(server, look))


def has_consumer(server: NatsServer) -> bool:
    """Tell whether a worker has come."""

    async def look(js: Any) -> Any:
        try:
            return (await js.consumer_info(WORK, DURABLE)).num_waiting
        except nats.js.errors.NotFoundError:
            return 0

    return bool(on_broker(server, look))


class TestSameAsConfirm:
    @pytest.mark.parametrize("name", ["payments.csv", "payments-with-mistakes.csv"])
    def test_summary_and_rejects(self, server: NatsServer, name: str) -> None:
        """
        Queued, confirmed by two workers and collected, a file ends as it does with confirm: the
        same counts, the same exit status and the same rows to be corrected.
        """
        file = str(ROOT / "examples" / name)
        alone = run("confirm", file, "--sandbox", "--json", "--rejects", "alone.csv")
        with running_sandbox(api_key="test") as sandbox, crew(sandbox) as workers:
            queued = run("enqueue", file, "--json")
            together = run("collect", "--json", "--rejects", "all.csv", "--report", "page.html")
            statuses = end(*workers)

        assert 0 == queued.returncode
        assert counted(alone) == counted(together)
        rows = [sorted(pathlib.Path(f"{n}.csv").read_text().splitlines()) for n in ("alone", "all")]
        assert rows[0] == rows[1]
        assert [0, 0] == statuses
        assert document(alone)["rows"] == document(queued)["rows"]
        assert "<html" in pathlib.Path("page.html").read_text()

    def test_rows_that_the_vendor_rejects(self, server: NatsServer) -> None:
        """
        A row that the vendor rejects is a row to be corrected, with the vendor's words and every
        column of its file; one that met 429 before it was rejected is rejected all the same.
        """
        rows = HEADER.replace("status", "status,note") + "".join(
            f"case-{n},{n}.50,2026-01-05,2026-02-05,PAID,note-{n}\n" for n in range(4)
        )
        pathlib.Path("payments.csv").write_text(rows)
        body = b'{"success": false, "message": "case is closed"}'
        with running_sandbox(api_key="test") as sandbox:
            closed = Fault.HTML(status=422, body=body)
            busy = Fault.RATE_LIMIT(retry_after=0)
            sandbox.script(busy, busy, closed, closed, closed, closed, closed)
            with crew(sandbox, 1, "--concurrency", "1") as workers:
                run("enqueue", "payments.csv")
                result = run("collect", "--json", "--rejects", "rejects.csv")
                end(*workers)
        found = counted(result)
        rejects = pathlib.Path("rejects.csv").read_text()

        assert (4, 0) == (found["rejected"] + found["confirmed"], found["unknown"])
        assert found["rejected"] >= 1
        assert found["rejected"] == rejects.count("case is closed")
        assert re.search(r"note-\d", rejects)


class TestWhoeverDies:
    @pytest.mark.deep
    @pytest.mark.timeout(300)
    def test_each_row_is_on_record_once(self, server: NatsServer) -> None:
        """
        While faults meet a tenth of the requests, the process that queues, workers and the server
        are killed (SIGKILL); in the end each row is on record once, and the counts say so.
        """
        rows = 4000
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(rows))))
        with running_sandbox(api_key="test", fault_rate=0.1 / 11, seed=3) as sandbox:
            with crew(sandbox, 2, "--attempt-timeout", "1") as workers:
                queueing = start("enqueue", "payments.csv")
                wait_for(lambda: sandbox.received > 50)
                queueing.kill()
                queueing.communicate()
                again = start("enqueue", "payments.csv")
                wait_for(lambda: sandbox.received > rows * 0.2, 100)
                server.kill()
                time.sleep(0.5)
                server.start()
                for number in (0, 1):
                    wait_for(lambda n=number: sandbox.received > rows * (0.4 + 0.2 * n), 100)
                    workers[number].kill()
                    workers[number].communicate()
                    workers[number] = worker(sandbox, "--attempt-timeout", "1")
                again.communicate(timeout=100)
                result = run("collect", "--json")
                statuses = end(*workers)
            payments = Counter(payment.case_id for payment in sandbox.payments)
        found = counted(result)

        assert {f"case-{n}": 1 for n in range(rows)} == payments
        assert (rows, 0) == (found["confirmed"] + found["already_recorded"], found["unknown"])
        assert 0 == again.returncode
        assert [0, 0] == statuses
        assert 0 == waiting(server)

    def test_told_to_end_a_worker_finishes_what_it_holds(self, server: NatsServer) -> None:
        """
        A worker that is told to end (SIGTERM) finishes the payments that it holds, takes no other,
        and ends with status 0.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(100))))
        with running_sandbox(api_key="test", faults={Fault.DELAY(seconds=1.0): 1.0}) as sandbox:
            run("enqueue", "payments.csv")
            with crew(sandbox, 1, "--concurrency", "8", "--fixed") as workers:
                wait_for(lambda: sandbox.received >= 8)
                asked = sandbox.received
                statuses = end(*workers)
            received, payments = sandbox.received, len(sandbox.payments)

        assert [0] == statuses
        assert asked <= received <= asked + 8  # what was under way to it at that moment
        assert payments == received == 100 - waiting(server)
        assert 0 == held(server)

    def test_told_twice_it_leaves_the_rest_to_others(self, server: NatsServer) -> None:
        """
        Told twice, a worker ends at once; what it held is confirmed by another, each row once.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(20))))
        slow = Fault.DELAY(seconds=60.0)  # longer than anything is waited for here
        with running_sandbox(api_key="test") as sandbox:
            sandbox.script(*[slow] * 8)
            run("enqueue", "payments.csv")
            with crew(sandbox, 1, "--concurrency", "8", "--fixed") as workers:
                wait_for(lambda: sandbox.received >= 4)
                workers[0].send_signal(signal.SIGTERM)
                time.sleep(0.3)  # or the two signals would be one
                end(*workers)
            with crew(sandbox, 1) as workers:
                result = run("collect", "--json")
                end(*workers)
            payments = Counter(payment.case_id for payment in sandbox.payments)

        assert {f"case-{n}": 1 for n in range(20)} == payments
        assert 0 == result.returncode


class TestEnds:
    def test_with_standard_input(self, server: NatsServer) -> None:
        """
        A worker that is to end with its standard input does, as with a signal; one whose broker
        goes away meanwhile waits for it.
        """
        with running_sandbox(api_key="test") as sandbox:
            process = start(
                *("worker", "--base-url", sandbox.url, "--while-stdin", "--json"),
                stdin=subprocess.PIPE,
            )
            wait_for(lambda: has_consumer(server))
            server.kill()
            time.sleep(0.3)
            server.start()
            assert process.stderr is not None
            assert "the broker is away" in process.stderr.readline()
            assert "the broker is back" in process.stderr.readline()
            output, _ = process.communicate("", timeout=30)

        assert 0 == process.returncode
        assert json.loads(output.splitlines()[-1])["stopped_by"] is None


class TestRefusedKey:
    def test_stops_and_leaves_the_queue_alone(self, server: NatsServer) -> None:
        """
        A worker whose API key is refused ends with status 2 and says so; all rows still wait, and
        none of them has a result.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(50))))
        with running_sandbox(api_key="another") as sandbox:
            run("enqueue", "payments.csv")
            with crew(sandbox, 1) as workers:
                _, said = workers[0].communicate(timeout=30)
            payments = len(sandbox.payments)
        now = document(run("collect", "--now", "--json"))

        assert 2 == workers[0].returncode
        assert "the vendor refuses the API key (401 AuthenticationError)" in said
        assert "test" not in said
        assert (50, 0) == (waiting(server), payments)
        assert (50, 1) == (now["unknown"], now["exit_status"])
        assert "the job has not ended" == now["stopped_by"]
        with running_sandbox(api_key="test") as sandbox, crew(sandbox, 1) as workers:
            stopped = workers[0].communicate(timeout=30)[1]

        assert 2 == workers[0].returncode  # its job was begun at another vendor
        assert "the payments of the job payments-csv-" in stopped


class TestEnqueue:
    def test_says_what_is_wrong(self, server: NatsServer) -> None:
        """
        A name that cannot be one, another file under a name, and one that breaks off are told; what
        is queued stays.
        """
        pathlib.Path("a.csv").write_text(HEADER + good(1) + good(2))
        pathlib.Path("b.csv").write_text(HEADER + good(3))
        packed = gzip.compress((HEADER + "".join(map(good, range(3000)))).encode())
        named_badly = run("enqueue", "a.csv", "--job", "a.b")
        first = run("enqueue", "a.csv", "--job", "a")
        other = run("enqueue", "b.csv", "--job", "a")
        command = [sys.executable, "-m", "carevalidate_async", "enqueue", "-", "--job", "c"]
        # Through a pipe, of which nobody knows the end before it is there.
        broken = subprocess.run(
            command, input=packed[: len(packed) // 2], capture_output=True, check=False
        )

        assert [2, 0, 2, 2] == [r.returncode for r in (named_badly, first, other, broken)]
        assert "--job must be letters" in named_badly.stderr
        assert "Job a: 2 rows, 2 queued, 0 invalid, 0 duplicates" in first.stdout
        assert "the job a was begun with another file" in other.stderr
        assert b"what is queued stays" in broken.stderr

    def test_stopped_while_the_queue_is_full(self, server: NatsServer) -> None:
        """
        Stopped (SIGINT) while it waits for the workers, it says how far it is; what is no row is
        dropped by a worker, and said.
        """
        pathlib.Path("a.csv").write_text(HEADER + "".join(map(good, range(5))))
        run("enqueue", "a.csv", "--job", "first")

        async def bound(js: Any) -> None:
            config = (await js.stream_info(WORK)).config
            await js.update_stream(config.evolve(max_msgs=6))
            await js.publish("carevalidate.work.none.1", b"no row")

        on_broker(server, bound)
        queueing = start("enqueue", "a.csv", "--job", "second")
        said = queueing.stderr
        assert said is not None
        assert "the queue is full" in said.readline()
        queueing.send_signal(signal.SIGINT)
        output, _ = queueing.communicate(timeout=20)
        with running_sandbox(api_key="test") as sandbox, crew(sandbox, 1) as workers:
            found = counted(run("collect", "--json", "--job", "first"))
            workers[0].send_signal(signal.SIGTERM)
            _, told = workers[0].communicate(timeout=30)

        assert 130 == queueing.returncode
        assert "Up to 5 rows more may be queued already" in output
        assert 5 == found["confirmed"]
        assert "Dropped a message that is no row: carevalidate.work.none.1" in told


class TestCollect:
    def test_from_anywhere_as_often_as_wanted(self, server: NatsServer) -> None:
        """
        A job is summed up the same way each time, until it is forgotten.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(20))))
        with running_sandbox(api_key="test") as sandbox, crew(sandbox, 1) as workers:
            run("enqueue", "payments.csv", "--job", "monday")
            found = [run("collect", "--json", "--job", "monday") for _ in range(2)]
            forgotten = run("collect", "--forget")
            after = run("collect", "--now")
            end(*workers)

        assert counted(found[0]) == counted(found[1])
        assert 20 == counted(found[0])["confirmed"]
        assert 0 == forgotten.returncode
        assert 2 == after.returncode
        assert "the broker has no job" in after.stderr

    def test_metrics(self, server: NatsServer) -> None:
        """
        A worker and who collects serve what they know to Prometheus.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(7))))
        run("enqueue", "payments.csv")
        with (
            running_sandbox(api_key="test") as sandbox,
            crew(sandbox, 1, "--metrics-port", "0") as workers,
        ):
            said = workers[0].stderr
            assert said is not None
            url = re.search(r"http://\S+", said.readline())
            assert url is not None
            wait_for(lambda: len(sandbox.payments) == 7)
            wait_for(lambda: b'{action="ack"} 7.0' in urlopen(url[0]).read())  # noqa: S310 - ours
            served = urlopen(url[0]).read().decode()  # noqa: S310 - ours
            end(*workers)
        taken = run("collect", "--metrics-port", str(server.port))

        assert re.search(r'carevalidate_calls_total\{.*outcome="recorded"\} 7.0', served)
        assert 2 == taken.returncode
        assert f"--metrics-port {server.port}: Address already in use" in taken.stderr

    def test_several_jobs_want_a_name(self, server: NatsServer) -> None:
        """
        Where there are several jobs, the one that is meant has to be named.
        """
        pathlib.Path("a.csv").write_text(HEADER + good(1))
        for name in ("one", "two"):
            run("enqueue", "a.csv", "--job", name)
        unnamed, wrong = run("collect", "--now"), run("collect", "--now", "--job", "three")

        assert [2, 2] == [unnamed.returncode, wrong.returncode]
        assert "several jobs; say which (--job): one, two" in unnamed.stderr
        assert "no job three: one, two" in wrong.stderr

    def test_interrupted_the_job_goes_on(self, server: NatsServer) -> None:
        """
        Who stops to collect (SIGINT) gets what there is, and status 130; the job goes on.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(5))))
        run("enqueue", "payments.csv")
        collecting = start("collect", "--json", "--metrics-port", "0")
        assert collecting.stderr is not None
        url = re.search(r"http://\S+", collecting.stderr.readline())
        assert url is not None
        wait_for(lambda: b"carevalidate_job" in urlopen(url[0]).read())  # noqa: S310 - ours
        collecting.send_signal(signal.SIGINT)
        output, _ = collecting.communicate(timeout=20)
        found = json.loads(output.splitlines()[-1])

        assert 130 == collecting.returncode == found["exit_status"]
        assert (5, 5) == (found["rows"], found["not_sent"])  # no worker has ever taken one
        assert {"waiting": 0, "in_flight": 0} == {
            name: found["queue"][name] for name in ("waiting", "in_flight")
        }
        assert 5 == waiting(server)


class TestDeadLetters:
    def test_listed_and_replayed(self, server: NatsServer) -> None:
        """
        Rows that the vendor rejected are listed; replayed, they are asked for again under their own
        keys, and the job ends with all of them on record.
        """
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(6))))
        body = b'{"success": false, "message": "not yet"}'
        with running_sandbox(api_key="test") as sandbox:
            sandbox.script(*[Fault.HTML(status=422, body=body)] * 2)
            with crew(sandbox, 1) as workers:
                run("enqueue", "payments.csv")
                before = run("collect", "--json")
                listed = run("dead-letter", "list", "--json")
                none = run("dead-letter", "replay")
                replayed = run("dead-letter", "replay", "--state", "rejected", "--json")
                after = run("collect", "--json")
                empty = run("dead-letter", "list")
                end(*workers)
            payments = Counter(payment.case_id for payment in sandbox.payments)
        letters = [json.loads(line) for line in listed.stdout.splitlines()]

        assert 2 == counted(before)["rejected"]
        assert 1 == listed.returncode
        assert [("rejected", 422)] * 2 == [(found["state"], found["status"]) for found in letters]
        assert "not yet" not in listed.stdout  # the vendor's words may be personal
        assert "Queued once more: 0" in none.stdout
        assert (2, 0) == (document(replayed)["queued"], replayed.returncode)
        assert (6, 0) == (counted(after)["confirmed"], after.returncode)
        assert ("", 0) == (empty.stdout, empty.returncode)
        assert {f"case-{n}": 1 for n in range(6)} == payments

    def test_old_keys_are_left(self, server: NatsServer) -> None:
        """
        A row that may be on record is not queued once more when its key is older than allowed: the
        vendor may have forgotten it.
        """
        pathlib.Path("payments.csv").write_text(HEADER + good(1))
        run("enqueue", "payments.csv")

        async def park(js: Any) -> None:
            from carevalidate_async import Outcome
            from carevalidate_async._jobs.work import JobDelivery
            from carevalidate_async.events import Action, Decision

            await Ledger.open(js)
            sub = await js.pull_subscribe("carevalidate.work.*.*", durable=DURABLE, stream=WORK)
            (message,) = await sub.fetch(1)
            delivery = JobDelivery(message, js)
            delivery.event = attrs.evolve(delivery.event, age=7200.0)
            told = Decision(action=Action.PARK, outcome=Outcome.UNKNOWN, reason="lost", key="k")
            await delivery.publish(told)
            await delivery.ack()

        on_broker(server, park)
        left = run("dead-letter", "replay", "--max-key-age", "1h", "--json")
        queued = run("dead-letter", "replay", "--json")

        assert (0, 1, 1) == (document(left)["queued"], document(left)["left"], left.returncode)
        assert "Left, since its key is too old: line 2: unknown: lost" in left.stderr
        assert (1, 0) == (document(queued)["queued"], queued.returncode)
        assert 1 == waiting(server)


class TestOnThisMachine:
    def test_same_as_alone(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Confirm with workers starts all that it needs, ends as without them, leaves no process, and
        the same command again asks for nothing.
        """
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        file = str(ROOT / "examples" / "payments-with-mistakes.csv")
        with running_sandbox(api_key="test") as sandbox:
            told = ("confirm", file, "--base-url", sandbox.url, "--json", "--journal")
            together = run(*told, "queue", "--workers", "2", "--rejects", "all.csv")
            asked = sandbox.received
            again = run(*told, "queue", "--workers", "2")
            received = sandbox.received
        alone = run("confirm", file, "--sandbox", "--json", "--rejects", "alone.csv")

        assert counted(alone) == counted(together) == counted(again)
        assert asked == received
        rows = [sorted(pathlib.Path(f"{n}.csv").read_text().splitlines()) for n in ("alone", "all")]
        assert rows[0] == rows[1]
        assert 0o700 == pathlib.Path("queue").stat().st_mode & 0o777
        assert [] == named("queue")

    @pytest.mark.deep
    def test_killed_it_leaves_no_process_and_goes_on(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        Killed (SIGKILL) in the midst, its workers end by themselves; the same command again ends
        what is left of it, and confirms the rest: each payment is on record once.
        """
        rows = 1500
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(rows))))
        with running_sandbox(api_key="test", fault_rate=0.005, seed=5) as sandbox:
            told = (
                *("confirm", "payments.csv", "--base-url", sandbox.url, "--json"),
                *("--journal", "queue", "--workers", "2", "--attempt-timeout", "1"),
            )
            first = start(*told)
            wait_for(lambda: sandbox.received > rows / 4)
            first.kill()
            first.communicate()
            second = run(*told)
            payments = Counter(payment.case_id for payment in sandbox.payments)

        assert {f"case-{n}": 1 for n in range(rows)} == payments
        assert (rows, 0) == (
            counted(second)["confirmed"] + counted(second)["already_recorded"],
            second.returncode,
        )
        wait_for(lambda: named("queue") == [])

    def test_refused_key(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        With a key that the vendor refuses it ends with status 2 and says so.
        """
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(5))))
        with running_sandbox(api_key="another") as sandbox:
            result = run(
                *("confirm", "payments.csv", "--base-url", sandbox.url, "--json"),
                *("--workers", "1"),
            )

        assert 2 == result.returncode
        assert "the vendor refuses the API key" in result.stderr
        assert 5 == document(result)["not_sent"]

    def test_with_a_sandbox_and_another_file(
        self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """
        It brings a sandbox if asked to, each worker has its share of what all may do, and a folder
        is of one file.
        """
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("CAREVALIDATE_API_KEY", raising=False)
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(8))))
        told = ("confirm", "payments.csv", "--sandbox", "--workers", "2", "--journal", "queue")
        first = run(
            *(*told, "--rate", "200", "--fixed", "--attempt-timeout", "5", "--json"),
            *("--rejects", "rejects.csv", "--report", "page.html"),
        )
        pathlib.Path("payments.csv").write_text(HEADER + good(99))
        second = run(*told)
        keyless = run("confirm", "payments.csv", "--environment", "staging", "--workers", "1")

        assert (8, 0) == (counted(first)["confirmed"], first.returncode)
        assert "queue: the job file was begun with another file" in second.stderr
        assert "or name another folder (--journal)" in second.stderr
        assert [2, 2] == [second.returncode, keyless.returncode]
        assert "the API key is missing" in keyless.stderr

    def test_two_at_once(self, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """
        Of two runs on one folder the second one says that the first is at work.
        """
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("CAREVALIDATE_API_KEY", "test")
        pathlib.Path("payments.csv").write_text(HEADER + "".join(map(good, range(30))))
        with running_sandbox(api_key="test", faults={Fault.DELAY(seconds=1.0): 1.0}) as sandbox:
            told = ("confirm", "payments.csv", "--base-url", sandbox.url, "--journal", "queue")
            first = start(*told, "--workers", "1", "--concurrency", "4")
            wait_for(lambda: sandbox.received > 1)
            second = run(*told, "--workers", "1")
            first.send_signal(signal.SIGTERM)
            first.communicate(timeout=30)

        assert 2 == second.returncode
        assert "another run is at work on" in second.stderr
        assert 130 == first.returncode

    @pytest.mark.parametrize(
        ("options", "why"),
        [
            (("--dry-run",), "--dry-run cannot be given with --workers"),
            (("--max-attempts", "3"), "--max-attempts cannot be given with --workers"),
            (("--journal", "payments.csv"), "the same file"),
            (("--journal", "other.csv"), "is no folder"),
        ],
        ids=["dry run", "attempts", "same", "file"],
    )
    def test_options_that_do_not_go_with_it(
        self,
        tmp_path: pathlib.Path,
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        why: str,
    ) -> None:
        """
        What means nothing for several workers is refused, and nothing is sent.
        """
        monkeypatch.chdir(tmp_path)
        for name in ("payments.csv", "other.csv"):
            pathlib.Path(name).write_text(HEADER + good(1))
        result = run("confirm", "payments.csv", "--sandbox", "--workers", "1", *options)

        assert 2 == result.returncode
        assert why in result.stderr


def named(word: str) -> list[str]:
    """Return the command lines of this test's processes that have *word* in them."""
    here = os.fspath(pathlib.Path.cwd())
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            told = (path / "cmdline").read_text("utf-8", "replace").replace("\0", " ")
            if word in told and os.fspath((path / "cwd").readlink()) == here:
                found.append(told)
    return found
