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

=========================  ==================  ====================  ===================  ==========
what a broker can          JetStream           RabbitMQ              Redis Streams        Kafka
=========================  ==================  ====================  ===================  ==========
be told that it is held    yes                 no                    yes                  no
count deliveries           yes                 with headers of ours  yes                  in part
deliver after a while      any                 a few delays          up to ``min_idle``   in process
after a consumer's death   after ``ack_wait``  at once               after ``min_idle``   by batches
publish a letter twice     hardly              yes                   no                   yes
=========================  ==================  ====================  ===================  ==========

| file | purpose |
|---|---|
| `_raw.py` | what all of them share: bytes as they came, and the application's end |
| `_parsing.py` | a message that FastStream cannot parse |
| `_again.py` | what a message that is sent once more tells of its deliveries so far |
| `_end.py` | the end of taking messages, before the application has ended |
| `_queues.py` | the queues of RabbitMQ, and that they are there |
| `_partitions.py` | what a consumer of Kafka knows of its partitions |
| `_rabbit.py` | a message of RabbitMQ, and how it is settled |
| `_stream.py` | an entry of a Redis stream, and how it is settled |
| `_record.py` | a record of Kafka, and what is published about it |
| `nats.py` | JetStream |
| `rabbit.py` | RabbitMQ |
| `redis.py` | Redis Streams |
| `kafka.py` | Kafka; less tested than the others |
"""
