"""
What a call costs beside the same call by other means, side by side in one run.

``python -m benchmarks.compare`` starts a stub of the vendor and a process for each contender, lets
them play in turns, and prints CPU time and calls per second as ratios to bare aiohttp's.

| file | what it is |
|---|---|
| `stub.py` | the vendor: a server that answers without looking |
| `target.py` | where the stub is, and what is sent there |
| `bare.py` | contenders without a library: aiohttp as most write it, aiohttp tuned, the limit |
| `ours.py` | contenders: this package's calls and bulk runs |
| `peers.py` | contenders: other SDKs and HTTP clients |
| `contender.py` | what a contender is |
| `field.py` | all there are |
| `worker.py` | the process in which one of them plays |
| `rounds.py` | the turns, and what was measured in them |
| `guard.py` | whether a call costs more than was recorded |
| `table.py` | what was measured, as a table and as JSON |
| `__main__.py` | the command |
"""
