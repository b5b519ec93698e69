"""
What meets another library: brokers, and FastStream.

Each file needs the library that it is named for, which an extra installs. A file imports only from
those above it.

| file | purpose |
|---|---|
| `letters.py` | what is published: results, and dead letters |
| `prometheus.py` | metrics of consumers and jobs |
| `shared_rate.py` | a rate that all workers share, on Redis |
| `mismatch.py` | the error of what a broker has otherwise than it must be |
| `jetstream.py` | NATS JetStream: streams, consumers, and a message's settlement |
| `faststream/` | a FastStream application's subscribers, for each of its brokers |
"""
