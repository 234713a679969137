"""Run the benchmark, show its tables, and write them into docs/performance.md and docs/performance.svg."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from .chart import chart
from .clients import CLIENTS
from .figures import BASELINE
from .report import PROVIDERS_BEGIN, PROVIDERS_END, placed, providers_report, report
from .runner import FULL, QUICK, Run

DOCS = Path(__file__).parent.parent / "docs"
PARTS = ("clients", "providers")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few and short rounds: under a minute in all")
    parser.add_argument("--no-write", action="store_true", help="show the tables, leave docs/ as they are")
    parser.add_argument("--only", help="names of clients, split by commas; implies --no-write")
    parser.add_argument("--part", choices=PARTS, help="measure, and write, one part only; both if left out")
    options = parser.parse_args()
    only = {BASELINE, *options.only.split(",")} if options.only else set()
    if unknown := only - {*CLIENTS}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; clients: {', '.join(CLIENTS)}")
    for name in (BASELINE, "libws"):
        if missing := CLIENTS[name].missing:
            parser.error(f"{', '.join(missing)} is not installed; `make bench` installs what is needed")
    begin = time.monotonic()
    parts = {options.part} if options.part else {"clients"} if only else {*PARTS}
    results = Run(QUICK if options.quick else FULL, only, parts)()
    clients = report(results) if "clients" in parts else ""
    providers = providers_report(results) if "providers" in parts else ""
    print("\n\n".join(filter(None, [clients, providers])))
    print(f"measured in {time.monotonic() - begin:.0f} s", file=sys.stderr)
    if not options.no_write and not only:
        page = DOCS / "performance.md"
        text = page.read_text("utf-8")
        if clients:
            text = placed(text, clients)
            (DOCS / "performance.svg").write_text(chart(results), "utf-8")
        if providers:
            text = placed(text, providers, PROVIDERS_BEGIN, PROVIDERS_END)
        page.write_text(text, "utf-8")
        print("written: docs/performance.md", *(["docs/performance.svg"] if clients else []), file=sys.stderr)


if __name__ == "__main__":
    main()
