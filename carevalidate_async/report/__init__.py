"""
A run as one page for people: where the payments stand, what to do next, and how it went.

The page is one file that loads nothing: no script, no font, no image from elsewhere, and its own
policy forbids it. It holds no personal data as long as what it is given holds none. Needs the extra
`cli`.

- `begin_report`, `write_report`: the page before the run, and after it.
- `Facts`: what a run was asked to do.

A file imports only from those above it.

| file | purpose |
|---|---|
| `report.css` | how it looks, on a screen and on paper |
| `report.html.jinja` | its template |
| `_facts.py` | what a run was asked to do |
| `_plots.py` | the axes of a plot, and what stands on them |
| `_canvas.py` | lines, areas and strips over a run's time |
| `_wording.py` | a run in sentences |
| `_figures.py` | the figures: a finding, a plot, the numbers |
| `_steps.py` | what to do next |
| `_page.py` | the template, filled in by jinja2 |
| `_report.py` | the page, written |
"""

from __future__ import annotations

from carevalidate_async.report._facts import Facts
from carevalidate_async.report._report import begin_report, write_report

__all__ = ["Facts", "begin_report", "write_report"]
