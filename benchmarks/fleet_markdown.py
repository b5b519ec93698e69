"""What the command prints: tables in Markdown, as docs/explanation/scale.md has them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from benchmarks.fleet_plan import Inputs, Settings, parts
from benchmarks.fleet_scenario import Scenario, ideal_p99
from carevalidate_async.integrations.jetstream import ACK_WAIT

if TYPE_CHECKING:
    from benchmarks.fleet_run import Figures

COLUMNS = (
    *("workers", "limit", "goodput, %", "waste, %", "time by ideal", "p99, s"),
    *("busiest second", "twice", "parked"),
)


def head() -> str:
    """Return the head of a table of scenarios."""
    return f"| {' | '.join(COLUMNS)} |\n|---|---{'|--:' * (len(COLUMNS) - 2)}|"


def row(scenario: Scenario, figures: Figures) -> str:
    """Return a scenario's row."""
    cells = (
        scenario.name,
        scenario.limits.value,
        f"{100 * figures.goodput:.1f}",
        f"{100 * figures.waste:.1f}",
        f"{figures.over_ideal:.2f}",
        f"{figures.p99:.1f}",
        f"{figures.busiest:,}",
        f"{figures.twice:,}",
        f"{figures.parked:,}",
    )
    return f"| {' | '.join(cells)} |"


def ideal_row(scenario: Scenario) -> str:
    """Return the row of a fleet that does all as soon as the vendor can take it."""
    p99, rate = ideal_p99(scenario), scenario.vendor.rate
    return f"| ideal | | 100.0 | 0.0 | 1.00 | {p99:.1f} | {rate:,.0f} | 0 | 0 |"


def plan(inputs: Inputs) -> str:
    """Return the plan: what it is computed from, what breaks first, and what follows."""
    carried = [
        f"| {part.name} | {part.rate:,.0f} | {part.full_at(inputs, peak=False) / 1e6:,.0f} | "
        f"{part.full_at(inputs, peak=True) / 1e6:,.0f} | {part.needed(inputs)} |"
        for part in parts(inputs)
    ]
    of_parts = (
        "| one of these carries | payments a second | million a day, if evenly | with the peak "
        "| needed |"
    )
    return "\n".join(
        [
            *("| given | |", "|---|--:|", *_given(inputs), ""),
            *(of_parts, "|---|--:|--:|--:|--:|", *carried, ""),
            *("| what follows | |", "|---|--:|", *_settings(inputs)),
        ]
    )


def _given(inputs: Inputs) -> list[str]:
    rows = []
    for field in attrs.fields(Inputs):
        value = round(getattr(inputs, field.name), 4)
        rows.append(f"| {field.metadata['told']} | {value:,.12g} |")
    return rows


def _settings(inputs: Inputs) -> list[str]:
    settings = Settings(inputs=inputs)
    usual = f"{1000 * inputs.latency:.0f} ms"
    by_one = settings.rate / settings.workers
    rows = {
        "payments a second on average": f"{inputs.average:,.0f}",
        "at the peak": f"{inputs.busiest:,.0f}",
        "requests a second to agree on with the vendor": f"{settings.rate:,.0f}",
        "the least, or the queue grows for ever": f"{inputs.average * inputs.requests:,.0f}",
        "worker processes, one of them to spare": f"{settings.workers}",
        "requests a second of each, where they split the rate": f"{by_one:,.0f}",
        f"`concurrency` and connections of each, for answers in {inputs.slow:g} s": (
            f"{settings.concurrency}"
        ),
        f"`concurrency` where nothing limits the rate, for answers in {usual}": (
            f"{settings.unlimited_concurrency}"
        ),
        "`max_ack_pending`, workers x `concurrency` x 2": f"{settings.max_ack_pending:,}",
        "`ack_wait`, seconds, extended every third of it": f"{ACK_WAIT:g}",
        "messages queued after the outage": f"{settings.backlog:,.0f}",
        "hours to work them off, at the average load": f"{settings.caught_up:.1f}",
        "`max_bytes` of the stream, GB": f"{settings.max_bytes / 1e9:.0f}",
        "replicas of it, so that one server may fail": "3",
        "GB of results a day": f"{inputs.per_day * inputs.message_bytes / 1e9:.0f}",
        "enqueuers": f"{math.ceil(inputs.busiest / inputs.enqueuer_rate / inputs.used)}",
        "commands a second of a Redis that limits all": f"{settings.rate * inputs.commands:,.0f}",
    }
    return [f"| {name} | {value} |" for name, value in rows.items()]
