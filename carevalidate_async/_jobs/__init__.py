"""
A file as a job: queued by one process, worked on by many, collected by any.

The queue is NATS JetStream. All that is known of a job is in the broker: the rows that wait, what
became of each, and how far it is queued. A file imports only from those above it.

| file | purpose |
|---|---|
| `messages.py` | what is put into the broker about a job, and where |
| `ledger.py` | the broker: what there must be, and what it has of a job |
| `enqueue.py` | a file's rows into the queue: `Enqueuer` |
| `pull.py` | messages, fetched as hands get free |
| `work.py` | a row's message to its result: `JobDelivery`, and `Worker` |
| `collect.py` | results to counts: `Collector` |
| `local.py` | a queue and workers on this machine alone |
| `replay.py` | rows that ended without being on record, once more |
"""
