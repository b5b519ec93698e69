"""
The commands, which `carevalidate_async.cli` puts together.

A file imports only from those above it.

| file | purpose |
|---|---|
| `output.py` | what is printed, and what becomes of a pipe that breaks |
| `garbage.py` | how often Python looks for garbage |
| `manual.py` | what `--help` says beside the options |
| `signals.py` | what becomes of the signals that ask to end |
| `command.py` | what all commands share: options, clients, how a command ends |
| `key_age.py` | the option that says how old a key may be |
| `files.py` | the files of a run: rows in, rejects and a page out |
| `plain.py` | a single call in plain values |
| `one_call.py` | one call, and its answer shown |
| `single.py` | the commands of a single call |
| `progress.py` | how a run shows itself while it goes on |
| `voice.py` | what `confirm` says to people |
| `machine.py` | what `confirm` says to machines |
| `broker.py` | the broker of commands that share a job |
| `ending.py` | a run's last words |
| `crew.py` | `confirm` with several processes |
| `confirm_journal.py` | the journal of `confirm` |
| `confirm.py` | `confirm` |
| `enqueue.py` | `enqueue` |
| `worker.py` | `worker` |
| `collect.py` | `collect` |
| `dead_letter.py` | `dead-letter list` and `dead-letter replay` |
| `advice.py` | what to do next about a journal |
| `status.py` | `status` |
| `export.py` | `export` |
| `settle.py` | `settle` |
| `sandbox.py` | `sandbox` |
| `completion.py` | `completion` |
"""
