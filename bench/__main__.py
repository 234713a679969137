"""Run the benchmark, show its tables, and write them into docs/performance.md and docs/performance.svg."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .chart import chart
from .clients import CLIENTS
from .figures import BASELINE
from .report import placed, report
from .runner import FULL, QUICK, Run

DOCS = Path(__file__).parent.parent / "docs"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: under a minute in all")
    parser.add_argument("--no-write", action="store_true", help="show the tables, leave docs/ as they are")
    parser.add_argument("--only", help="names of clients, split by commas; implies --no-write")
    options = parser.parse_args()
    only = {BASELINE, *options.only.split(",")} if options.only else set()
    if unknown := only - {*CLIENTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; clients: {', '.join(CLIENTS)}")
    for name in (BASELINE, "libws"):
        if missing := CLIENTS[name].missing:
            parser.error(f"{', '.join(missing)} is not installed; `make bench` installs what is needed")
    begin = time.monotonic()
    results = Run(QUICK if options.quick else FULL, only)()
    text = report(results)
    print(text)
    print(f"measured in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if not options.no_write and not only:
        page = DOCS / "performance.md"
        page.write_text(placed(page.read_text("utf-8"), text), "utf-8")
        (DOCS / "performance.svg").write_text(chart(results), "utf-8")
        print("written: docs/performance.md, docs/performance.svg", file=sys.stderr)


if __name__ == "__main__":
    main()
