"""
What meets another library: brokers, FastStream, and web frameworks.

Each file needs the library that it is named for, which an extra installs. A file imports only from
those above it.

| file | purpose |
|---|---|
| `letters.py` | what is published: results, and dead letters |
| `logs.py` | calls as lines of a log, with fields; also for structlog |
| `opentelemetry.py` | calls and attempts as spans and metrics |
| `prometheus.py` | metrics of clients, consumers and jobs |
| `shared_rate.py` | a rate that all workers share, on Redis |
| `problems.py` | what a web application answers when a call failed |
| `_unfinished.py` | work that is run to its end, whoever is cancelled meanwhile |
| `_caller_keys.py` | the Idempotency-Key header, and the vendor's key made of it |
| `_webhook_body.py` | a webhook's bytes, within bounds |
| `_vendors.py` | the clients of a web application, made at its start and closed at its end |
| `aiohttp.py` | an aiohttp.web application; needs no extra |
| `litestar.py` | a Litestar application |
| `starlette.py` | a Starlette application |
| `fastapi.py` | a FastAPI application |
| `mismatch.py` | the error of what a broker has otherwise than it must be |
| `jetstream.py` | NATS JetStream: streams, consumers, and a message's settlement |
| `faststream/` | a FastStream application's subscribers, for each of its brokers |
"""
