"""
What a release consists of, and what has to hold of it; `RELEASING.md` says when each is run.

| file | purpose |
|---|---|
| `dist.py` | the wheel and the sdist: built, and held against the repository |
| `smokes.py` | the wheel in clean environments, with each extra alone |
| `version.py` | the number, the changelog and the tag |
| `surface.py` | what of the package others rely on, as plain data |
| `api.py` | what a change breaks of it since the last tag |
"""
