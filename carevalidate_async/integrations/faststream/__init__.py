"""
Payment events in a FastStream application; a file for each of its brokers.

::

    broker = NatsBroker("nats://127.0.0.1:4222", graceful_timeout=60)
    handler = ConfirmHandler(care)
    payments = JetStreamPayments(
        broker, handler, stream="PAYMENTS", subject="payments.taken", dead="payments.dead"
    )
    app = FastStream(broker, on_startup=[payments.provision])

FastStream's own ways to acknowledge lose payments or ask for them without rest, and its brokers
differ in what they mean; so each subscriber here acknowledges by hand, last, and what came of a
payment is published before.

| file | purpose |
|---|---|
| `_raw.py` | what all of them share: bytes as they came, and the application's end |
| `nats.py` | JetStream |
"""
