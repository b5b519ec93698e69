"""
A run over a file: planned, asked for, written down, and watched.

A file imports only from those above it.

| file | purpose |
|---|---|
| `units.py` | numbers as people read them |
| `ages.py` | how old something is, as people write and read it |
| `typed.py` | commands to type about a file and its journal |
| `pauses.py` | the stretches in which a run waits |
| `tiles.py` | what happened in a stretch of time; neighbours add up |
| `groups.py` | what went wrong, grouped, and which rows need a person |
| `course.py` | what happened when |
| `counts.py` | the counts, and the summary |
| `sight.py` | what there is to see at one moment, and who watches |
| `ahead.py` | rows read before they are needed, off the event loop |
| `books.py` | what is written down of each row: on disk first, then in the counts |
| `file_run.py` | the whole: `FileRun` |
| `export.py` | rows of a file by what its journal says of them |
"""
