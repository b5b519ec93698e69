"""
How a fleet of workers fares that confirms queued payments at a vendor who takes only so many.

Simulated, in time that nobody waits for: the broker, the vendor and the network are models, what
decides is the package's own code. Prints a table for each kind of day, and what breaks first on the
way to 100 million payments a day. The same command prints the same figures::

    python -m benchmarks.fleet
"""

from __future__ import annotations

import argparse
import gc
import logging
import math
import sys

import attrs

from benchmarks.fleet_markdown import head, ideal_row, plan, row
from benchmarks.fleet_plan import Inputs
from benchmarks.fleet_run import play
from benchmarks.fleet_tables import LOST, Scale, tables

QUICK = Scale(rate=100.0, seconds=2.0, planned=0.05)


def print_tables(scale: Scale, inputs: Inputs) -> None:
    """Play all scenarios, and print each row as soon as it is there."""
    down, up = scale.outage
    print(
        f"{scale.rate * scale.seconds:,.0f} payments a row, published at {2 * scale.rate:,.0f} a "
        f"second;\nthe vendor takes {scale.rate:,.0f} requests a second, and its answer to "
        f"{100 * LOST:g} % of them is lost;\nan outage lasts {up - down:g} s. Seed {scale.seed}."
    )
    for title, scenarios in tables(scale, inputs).items():
        print(f"\n**{title}**\n", head(), ideal_row(scenarios[0]), sep="\n")
        for scenario in scenarios:
            print(row(scenario, play(scenario)), flush=True)


def main() -> int:
    """Print the tables and the plan."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.fleet",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rate", type=float, default=Scale().rate, help="of the vendor, a second")
    parser.add_argument("--seconds", type=float, default=Scale().seconds, help="of full work")
    parser.add_argument("--seed", type=int, default=Scale().seed, help="of all chance")
    parser.add_argument("--quick", action="store_true", help="small scenarios, in a few seconds")
    parser.add_argument("--plan", action="store_true", help="the plan alone, without scenarios")
    parser.add_argument("--per-day", type=float, default=Inputs().per_day, help="payments, planned")
    parser.add_argument("--peak", type=float, default=Inputs().peak, help="by the average")
    parser.add_argument("--vendor-rate", type=float, default=Inputs().vendor_rate, help="planned")
    parser.add_argument("--worker-rate", type=float, default=Inputs().worker_rate, help="planned")
    options = parser.parse_args()
    inputs = Inputs(
        per_day=options.per_day,
        peak=options.peak,
        vendor_rate=options.vendor_rate,
        worker_rate=options.worker_rate,
    )
    positive = (options.rate, options.seconds, *attrs.astuple(inputs))
    if not all(0 < value < math.inf for value in positive):
        parser.error("rates, seconds, payments and the peak must be above zero")
    if options.peak < 1 or options.rate * options.seconds < 1:
        parser.error("a peak is no less than the average, and there must be a payment")
    logging.disable()  # a thousand workers tell that they wait
    # Failures leave cycles; to look for them less often saves a third of the time.
    gc.set_threshold(100_000)
    if not options.plan:
        scale = Scale(rate=options.rate, seconds=options.seconds, seed=options.seed)
        print_tables(QUICK if options.quick else scale, inputs)
        print()
    print(plan(inputs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
