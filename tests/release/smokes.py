"""
Install the wheel in clean environments, with each extra alone, and do there what it is for.

`python -m release.smokes dist/*.whl` makes an environment for each extra, for none of them, and for
all; what is installed beside the wheel is what constraints/ pins, hashes included. Names after the
wheel choose among the extras, the empty one being none.
"""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from email import message_from_bytes

ROOT = pathlib.Path(__file__).parents[2]
LOCKS = ("dev", "bench")
"""Which together pin what the extras need."""

# Before each smoke: a payment that is put on record at a sandbox.
BEFORE = """
import asyncio, datetime, importlib.util, json, pathlib, subprocess, sys
from carevalidate_async import CareValidate, PaymentConfirmation
from carevalidate_async.sandbox import Sandbox

DAY = datetime.date(2026, 11, 2)
PAYMENT = PaymentConfirmation(
    case_id="case-1", amount=50, status="PAID", payment_date=DAY, valid_until=DAY
)
SCRIPT = str(pathlib.Path(sys.executable).with_name("carevalidate"))

async def confirm(hooks=()):
    async with Sandbox() as sandbox:
        async with CareValidate("test", base_url=sandbox.url, hooks=hooks) as care:
            await care.confirm_payment(PAYMENT)
        assert 1 == len(sandbox.payments)

def command(*arguments, status=0):
    done = subprocess.run([SCRIPT, *arguments], capture_output=True, text=True)
    assert status == done.returncode, done.stderr
    return done

async def live(app):
    '''Start and end an ASGI application.'''
    events = iter(["lifespan.startup", "lifespan.shutdown"])
    sent = []

    async def receive():
        return {"type": next(events)}

    async def send(message):
        sent.append(message["type"])

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    await app(scope, receive, send)
    assert ["lifespan.startup.complete", "lifespan.shutdown.complete"] == sent

async def handle(event):
    raise AssertionError("nothing was sent")
"""

SMOKES = {
    "": """
asyncio.run(confirm())
assert "pip install 'carevalidate-async[cli]'" in command("--version", status=2).stderr
assert importlib.util.find_spec("click") is None
""",
    "all": """
from carevalidate_async import report
from carevalidate_async.integrations import (
    fastapi, jetstream, litestar, opentelemetry, prometheus, shared_rate, starlette
)
from carevalidate_async.integrations.faststream import kafka, nats, rabbit, redis
command("confirm", "payments.csv", "--sandbox", "--workers", "2", "--report", "run.html")
assert pathlib.Path("run.html").stat().st_size > 1000
""",
    "cli": """
done = command("confirm", "payments.csv", "--sandbox", "--json", "--report", "run.html")
summary = json.loads(done.stdout.splitlines()[-1])
assert summary["rows"] == summary["confirmed"] > 0
assert pathlib.Path("run.html").stat().st_size > 1000
assert "[cli,nats]" in command("collect", "--broker", "nats://127.0.0.1:1", status=2).stderr
""",
    "fastapi": """
from fastapi import FastAPI
from carevalidate_async.integrations.fastapi import PROBLEM_HANDLERS, lifespan
asyncio.run(live(FastAPI(lifespan=lifespan(), exception_handlers=PROBLEM_HANDLERS)))
""",
    "kafka": """
from faststream.kafka import KafkaBroker
from carevalidate_async.integrations.faststream.kafka import KafkaPayments
async def make():
    KafkaPayments(KafkaBroker(enable_idempotence=True), handle, topic="payments", dead="dead")
asyncio.run(make())
""",
    "litestar": """
from litestar import Litestar
from carevalidate_async.integrations.litestar import CareValidatePlugin
asyncio.run(live(Litestar(plugins=[CareValidatePlugin()])))
""",
    "metrics": """
from prometheus_client import CollectorRegistry, generate_latest
from carevalidate_async.integrations.prometheus import ClientMetrics
registry = CollectorRegistry()
metrics = ClientMetrics()
registry.register(metrics)
asyncio.run(confirm([metrics]))
assert b"confirm_payment" in generate_latest(registry)
""",
    "nats": """
from faststream.nats import NatsBroker
from carevalidate_async.integrations.faststream.nats import JetStreamPayments
async def make():
    JetStreamPayments(NatsBroker(), handle, stream="PAYMENTS", subject="payments.x", dead="dead")
asyncio.run(make())
""",
    "otel": """
from carevalidate_async.integrations.opentelemetry import ClientTelemetry
asyncio.run(confirm([ClientTelemetry()]))
""",
    "parquet": """
import datetime, decimal, pyarrow, pyarrow.parquet
from carevalidate_async._files.rows import RowReader
row = {
    "case_id": "case-1", "amount": decimal.Decimal("1.50"), "payment_date": DAY,
    "valid_until": DAY, "status": "PAID",
}
pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), "payments.parquet")
with open("payments.parquet", "rb") as file:
    (found,) = RowReader(file)
assert decimal.Decimal("1.50") == found.payment.amount
""",
    "rabbit": """
from faststream.rabbit import RabbitBroker
from carevalidate_async.integrations.faststream.rabbit import RabbitPayments
async def make():
    RabbitPayments(RabbitBroker(), handle, queue="payments", dead="dead")
asyncio.run(make())
""",
    "ratelimit": """
from carevalidate_async.integrations.shared_rate import SharedRate
async def make():
    async with SharedRate("redis://127.0.0.1:1", 5):
        pass
asyncio.run(make())
""",
    "redis": """
from faststream.redis import RedisBroker
from carevalidate_async.integrations.faststream.redis import RedisPayments
async def make():
    RedisPayments(RedisBroker(), handle, stream="payments", dead="dead")
asyncio.run(make())
""",
    "speed": """
import aiofastnet, uvloop
uvloop.run(confirm())
with asyncio.Runner(loop_factory=aiofastnet.loop_factory()) as runner:
    runner.run(confirm())
""",
    "starlette": """
from starlette.applications import Starlette
from carevalidate_async.integrations.starlette import PROBLEM_HANDLERS, lifespan
asyncio.run(live(Starlette(lifespan=lifespan(), exception_handlers=PROBLEM_HANDLERS)))
""",
    "workers": """
import nats
from carevalidate_async._jobs.local import LocalServer
async def serve():
    async with LocalServer(pathlib.Path("queue")) as server:
        connection = await nats.connect(server.url)
        await connection.jetstream().account_info()
        await connection.close()
asyncio.run(serve())
""",
}
"""What each extra is for, in an environment that has no other one; nothing is printed."""


def extras_of(wheel: pathlib.Path) -> list[str]:
    """Return the extras that a wheel says it has, and the empty one, which is none."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        found = message_from_bytes(archive.read(name)).get_all("Provides-Extra", [])
    return ["", *sorted(found)]


def install(wheel: pathlib.Path, extra: str, environment: pathlib.Path) -> None:
    """Make an environment that has the wheel and one extra, from what the locks pin."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    wanted = environment.with_suffix(".txt")
    chosen = f"[{extra}]" if extra else ""
    wanted.write_text(f"carevalidate-async{chosen} @ {wheel.as_uri()}#sha256={digest}\n")
    limits = [
        word for lock in LOCKS for word in ("--constraint", str(ROOT / f"constraints/{lock}.txt"))
    ]
    uv("venv", "--python", sys.executable, str(environment))
    # What no lock pins has no hash, and is refused.
    required = ("--require-hashes", "-r", str(wanted))
    uv("pip", "install", "--python", str(environment), "--system-certs", *limits, *required)


def uv(*arguments: str) -> None:
    """Run uv, which makes an environment in less than a second."""
    subprocess.run(["uv", *arguments, "--quiet", "--no-config"], check=True)


def smoke(extra: str, environment: pathlib.Path, folder: pathlib.Path) -> str:
    """Do what an extra is for, in a folder of its own; return what went wrong."""
    folder.mkdir()
    payments = (ROOT / "examples/payments.csv").read_bytes()
    (folder / "payments.csv").write_bytes(payments)
    (folder / "smoke.py").write_text(BEFORE + SMOKES[extra], encoding="utf-8")
    ours = ("PYTHON", "CAREVALIDATE_", "PLANOCORE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(
        [str(environment / "bin/python"), "-I", "smoke.py"],
        check=False,
        cwd=folder,
        env={**kept, "CAREVALIDATE_API_KEY": "test", "PLANOCORE_TOKEN": "test"},
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
    )
    return done.stdout or ("" if done.returncode == 0 else f"exit status {done.returncode}")


def main(arguments: list[str]) -> int:
    """Install and try what the arguments name, and tell how it went."""
    wheel = pathlib.Path(arguments[0]).resolve()
    failed = False
    with tempfile.TemporaryDirectory(prefix="carevalidate-") as name:
        folder = pathlib.Path(name)

        def attempt(extra: str) -> tuple[str, float, str]:
            began = time.monotonic()
            install(wheel, extra, folder / f"env-{extra}")
            wrong = smoke(extra, folder / f"env-{extra}", folder / f"run-{extra}")
            return extra or "no extra", time.monotonic() - began, wrong

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for called, seconds, wrong in pool.map(attempt, arguments[1:] or extras_of(wheel)):
                print(f"{'FAILED' if wrong else 'passed'}  {called}, {seconds:.1f} s", flush=True)
                print(wrong, end="")
                failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
