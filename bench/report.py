"""The tables of docs/performance.md, made from what a run found, and nothing that it did not find."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

from . import machine
from .cases import CASES
from .chart import times
from .clients import CLIENTS
from .figures import BASELINE, BUSY, Figure, bound_by_server, faster, figure, noise, over, ratio, stage_costs
from .providers import MODES, PROVIDERS
from .runner import Results

BEGIN = "<!-- measured: `make bench` writes from here -->"
END = "<!-- measured: to here -->"
PROVIDERS_BEGIN = "<!-- measured: `make bench` writes of providers from here -->"
PROVIDERS_END = "<!-- measured: of providers to here -->"
QUIET = 0.15
"""Cores that may be busy with something else before it is worth a word."""
BIN = 0.1
"""Seconds of a bin in which returns are counted."""


def report(results: Results) -> str:
    """Everything between the markers."""
    parts = [
        head(results),
        "## Client CPU against websockets",
        summary(results),
        "![Client CPU a message against websockets](performance.svg)",
        "## Where libws loses",
        losses(results),
        "## Each case",
        *(part for name in results.traffic for part in case_table(results, name)),
        "## Memory of an idle connection",
        memory(results),
        "## Connecting",
        connecting(results),
        "## Coming back",
        coming_back(results),
        "## A stage more, and a client more",
        stages_and_assembly(results),
        "## Noise",
        about_noise(results),
    ]
    return "\n\n".join(part for part in parts if part)


def placed(page: str, text: str, begin: str = BEGIN, end: str = END) -> str:
    """The page with this text between its markers."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def providers_report(results: Results) -> str:
    """What stands between the markers of providers."""
    rows = []
    for name, rounds in results.providers.items():
        if not all(rounds.get(mode) for mode in MODES):
            continue
        provider = PROVIDERS[name]
        against = figure([own["cpu"] / base["cpu"] for base, own in zip(rounds["alone"], rounds["with"], strict=False)])
        size = len(provider().message(100_000).encode())
        cells = [micro(over(rounds[mode], "cpu").median) for mode in MODES]
        rows.append(
            [f"`{name}`", f"{provider.what}, {size} B", *cells, f"{times(against.median)} ({spread(against, times)})"]
        )
    notes = "".join(f"\n- {note}" for note in results.notes)
    columns = ["plugin", "message", *(f"{title}, CPU µs" for title in MODES.values()), "times libws alone"]
    return f"{head(results)}\n\n{table(columns, rows)}{chr(10) if notes else ''}{notes}"


def title(name: str) -> str:
    return CLIENTS[name].title


def plain_title(name: str) -> str:
    """The title where it does not matter how messages are read."""
    return title(name).replace(", callback", "")


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def micro(seconds: float) -> str:
    return f"{seconds * 1e6:.3g}" if seconds < 1e-3 else f"{seconds * 1e6:.0f}"


def milli(seconds: float) -> str:
    return f"{seconds * 1e3:.2f}"


def kib(size: float) -> str:
    return f"{size / 1024:.1f}"


def spread(figure: Figure, shown: Callable[[float], str]) -> str:
    return f"{shown(figure.least)} to {shown(figure.most)}"


def head(results: Results) -> str:
    extent = results.extent
    where = (
        "The clients ran on one core, the server on another."
        if results.pinned
        else "**Processes could not be pinned to cores of their own here: do not rely on these figures.**"
    )
    busy = (
        f"\n\n**The machine was doing other work ({results.other_work:.1f} cores), which shows as noise.**"
        if results.other_work > QUIET
        else ""
    )
    quick = (
        "**A quick run: few and short rounds. It shows that all works and the order of size, no more.**\n\n"
        if extent.seconds < 0.1
        else ""
    )
    return (
        f"{quick}Measured on {date.today().isoformat()}: {machine.machine()}; {machine.python()}; "
        f"{', '.join(machine.versions())}. {extent.rounds} rounds of about {extent.seconds:g} s. {where}{busy}"
    )


def summary(results: Results) -> str:
    """One row a client, one column a case: how many times less CPU."""
    cases = [name for name, rounds in results.traffic.items() if rounds]
    rows = []
    for name, entry in CLIENTS.items():
        cells = []
        for case in cases:
            rounds = results.traffic[case]
            found = ratio(rounds, name)
            mark = "†" if found and bound_by_server(rounds[name]) else ""
            cells.append(f"{times(found.median)}{mark}" if found else "")
        if any(cells):
            rows.append([entry.title, *cells])
    columns = ["client", *(CASES[case].title for case in cases)]
    notes = "".join(f"\n- {note}" for note in results.notes)
    return (
        f"{table(columns, rows)}\n\n"
        "Times less CPU of the client's process a message than websockets in the same round: the median, more is "
        "better, empty where a client cannot do it. † The server's core was busy for more than "
        f"{BUSY:.0%} of the time and the client's was not: the client waited, so this is no measure of how much it can "
        f"take.{chr(10) if notes else ''}{notes}"
    )


def losses(results: Results) -> str:
    """Where the default client needs more than another, said as plainly as where it needs less."""
    lines = [*losses_in_traffic(results)]
    aside = ("raw", "websocket-client")
    for what, rounds, key in (
        ("memory of an idle connection", results.memory, "bytes"),
        ("CPU of a connect", results.connect, "cpu"),
        ("ready again after a reset, without a delay", results.one, "median"),
    ):
        found = [(name, by) for name, by in faster(rounds, "libws", key, aside) if not name.startswith("libws")]
        if found:
            lines.append(f"- **{what}**: {listed(found)}")
    if not lines:
        return "In this run no other client needed less than libws by more than the noise."
    return "\n".join(
        [
            "Beyond the noise of this run, these need less than libws with a callback and its standard plugins "
            "(times less, the raw reader aside):",
            "",
            *lines,
        ]
    )


def losses_in_traffic(results: Results) -> Iterator[str]:
    for case, rounds in results.traffic.items():
        found = [(name, by) for name, by in faster(rounds, "libws", "cpu", ("raw",)) if not name.startswith("libws")]
        if found:
            yield f"- **{CASES[case].title}**: {listed(found)}"
    for case, rounds in results.traffic.items():
        if CASES[case].way == "echo":
            found = faster(rounds, "libws", "latency", ("raw",))
            found = [(name, by) for name, by in found if not name.startswith("libws")]
            if found:
                yield f"- **{CASES[case].title}, median answer**: {listed(found)}"


def listed(found: list[tuple[str, float]]) -> str:
    return ", ".join(f"{title(name)} {times(by)}" for name, by in found)


def case_table(results: Results, case: str) -> list[str]:
    rounds = results.traffic[case]
    answers = CASES[case].way == "echo"
    rows = []
    for name, each in rounds.items():
        if not each:
            continue
        cpu, against = over(each, "cpu"), ratio(rounds, name)
        row = [
            title(name),
            micro(cpu.median),
            spread(cpu, micro),
            f"{times(against.median)} ({spread(against, times)})" if against else "",
            f"{1 / over(each, 'wall').median:,.0f}",
            f"{over(each, 'client').median:.0%}",
            f"{over(each, 'server').median:.0%}",
        ]
        if answers:
            latency = over(each, "latency")
            row.append(f"{micro(latency.median)} ({spread(latency, micro)})")
        rows.append(row)
    columns = ["client", "CPU µs", "min to max", "times less", "messages/s", "client core", "server core"]
    return [f"### {CASES[case].title}", table([*columns, *(["answer µs"] if answers else [])], rows)]


def memory(results: Results) -> str:
    rows = [[plain_title(name), kib(each[0]["bytes"])] for name, each in results.memory.items() if each]
    return (
        f"Resident bytes that {results.extent.connections:,} open connections add to the process, divided by their "
        "number, after a garbage collection.\n\n" + table(["client", "KiB a connection"], rows)
    )


def connecting(results: Results) -> str:
    rows = []
    for name, each in results.connect.items():
        if each:
            cpu = over(each, "cpu")
            rate = 1 / over(each, "wall").median
            rows.append([plain_title(name), milli(cpu.median), spread(cpu, milli), f"{rate:,.0f}"])
    return (
        "One after the other, without TLS. For libws each is a new client, so its assembly from plugins is counted; "
        "a reconnect does not assemble anything.\n\n"
        + table(["client", "CPU ms a connect", "min to max", "connects/s"], rows)
    )


def coming_back(results: Results) -> str:
    rows = []
    for name, each in results.one.items():
        if each:
            seconds = sorted(value for answer in each for value in answer["seconds"])
            middle = seconds[len(seconds) // 2]
            rows.append([plain_title(name), milli(middle), f"{milli(seconds[0])} to {milli(seconds[-1])}"])
    one = table(["client", "ms until ready again", "min to max"], rows)
    rows = []
    for name, each in results.herd.items():
        if each:
            seconds = max((answer["seconds"] for answer in each), key=lambda seconds: max(bins_of(seconds)))
            bins = bins_of(seconds)
            counts = " ".join(str(count) for count in bins)
            rows.append([plain_title(name), f"{milli(seconds[-1])}", f"{max(bins) / len(seconds):.0%}", counts])
    many = table(["client", "ms until all are back", "in the fullest 100 ms", "returns in each 100 ms"], rows)
    return (
        "One client after the server has reset its connection, without a delay (libws with a back-off of 0):\n\n"
        f"{one}\n\n"
        f"{results.extent.herd} clients of one process whose connections the server resets at the same moment, with "
        "their default delays. Those that come all at once are a herd, which a server that has just come up may not "
        f"stand; libws spreads them. The worst round of {results.extent.repeats}:\n\n{many}"
    )


def bins_of(seconds: list[float]) -> list[int]:
    """How many came in each bin, up to the last one."""
    bins = [0] * (int(seconds[-1] / BIN) + 1)
    for value in seconds:
        bins[int(value / BIN)] += 1
    return bins


def stages_and_assembly(results: Results) -> str:
    lines = []
    for name, cost in stage_costs(results):
        lines.append(
            f"- {title(name)}: {cost.median * 1e9:.0f} ns a message and stage "
            f"({cost.least * 1e9:.0f} to {cost.most * 1e9:.0f} ns), receiving 64 B by a callback"
        )
    for each in results.assembly.values():
        if each:
            first, second = over(each, "first"), over(each, "second")
            lines.append(
                f"- a process's first client is assembled in {milli(first.median)} ms ({spread(first, milli)}), which "
                f"finds and imports the plugins; its second one in {milli(second.median)} ms ({spread(second, milli)})"
            )
    return "\n".join(lines)


def about_noise(results: Results) -> str:
    rows = []
    for case, rounds in results.traffic.items():
        if any(rounds.values()):
            base = over(rounds[BASELINE], "cpu").spread if rounds.get(BASELINE) else 0.0
            rows.append([CASES[case].title, f"{noise(rounds):.0%}", f"{base:.0%}"])
    return (
        "How far a client's rounds lie apart, (max - min) / median, of CPU a message. Two clients whose ranges meet "
        "are the same in this run, and a difference smaller than the spread of its case is noise.\n\n"
        + table(["case", "median of the clients", "websockets"], rows)
    )
