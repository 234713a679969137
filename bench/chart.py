"""The chart: a panel for each case, a bar for each client, as SVG that follows the reader's light or dark theme."""

from __future__ import annotations

from html import escape

from .cases import CASES
from .clients import CLIENTS
from .figures import BASELINE, bound_by_server, ratio
from .runner import Results

COLUMNS = 3
WIDTH, LABEL, VALUE = 424, 196, 52
"""Pixels of a panel, and of what stands left and right of its bars."""
BAR, GAP, HEAD, FOOT = 14, 5, 34, 18
TOP = 64

STYLE = """
  .page { fill: #ffffff; }
  svg { font: 12px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; }
  text { fill: #24292f; }
  .title { font-size: 16px; font-weight: 600; }
  .case { font-size: 13px; font-weight: 600; }
  .quiet { fill: #57606a; }
  .value { stroke: #ffffff; stroke-width: 4; paint-order: stroke; }
  .other { fill: #afb8c1; }
  .own { fill: #0969da; }
  .base { stroke: #57606a; stroke-dasharray: 3 3; }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117; }
    text { fill: #e6edf3; }
    .quiet { fill: #9198a1; }
    .value { stroke: #0d1117; }
    .other { fill: #484f58; }
    .own { fill: #4493f8; }
    .base { stroke: #9198a1; }
  }
"""


def chart(results: Results) -> str:
    """How many times less client CPU a message needs than with python-websockets."""
    panels = {name: bars for name in CASES if (bars := bars_of(results, name))}
    rows = [[*panels][start : start + COLUMNS] for start in range(0, len(panels), COLUMNS)]
    heights = [HEAD + FOOT + max(len(panels[name]) for name in row) * (BAR + GAP) for row in rows]
    width, height = COLUMNS * WIDTH, TOP + sum(heights)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="Client CPU a message against python-websockets">',
        f"<style>{STYLE}</style>",
        '<rect class="page" width="100%" height="100%" rx="6"/>',
        '<text class="title" x="16" y="28">How many times less client CPU a message than websockets</text>',
        '<text class="quiet" x="16" y="48">Longer is better. Medians. The dashed line is websockets; '
        "† the server was the limit.</text>",
    ]
    top = TOP
    for row, tall in zip(rows, heights, strict=True):
        for column, name in enumerate(row):
            parts += panel(CASES[name].title, panels[name], column * WIDTH + 16, top)
        top += tall
    return "\n".join([*parts, "</svg>", ""])


def bars_of(results: Results, case: str) -> list[tuple[str, float, bool]]:
    """Name, ratio and whether the server was the limit, of all clients but the raw one, which would dwarf them."""
    rounds = results.traffic.get(case, {})
    found = []
    for name, each in rounds.items():
        times = ratio(rounds, name)
        if times is not None and name != "raw":
            found.append((name, times.median, bound_by_server(each)))
    return found


def panel(title: str, bars: list[tuple[str, float, bool]], left: int, top: int) -> list[str]:
    room = WIDTH - LABEL - VALUE - 16
    longest = max(1.0, *(value for _, value, _ in bars))
    start = left + LABEL
    parts = [f'<text class="case" x="{left}" y="{top + 20}">{escape(title)}</text>']
    y = top + HEAD
    end = y + len(bars) * (BAR + GAP)
    if any(name == BASELINE for name, _, _ in bars):
        one = start + room / longest
        parts.append(f'<line class="base" x1="{one:.1f}" x2="{one:.1f}" y1="{top + HEAD - 4}" y2="{end}"/>')
    for name, value, bound in bars:
        own = "own" if name.startswith("libws") else "other"
        label = escape(CLIENTS[name].title.replace("`", "").replace(" (no asyncio)", ""))
        length = max(1.0, value / longest * room)
        mark = "†" if bound else ""
        middle = y + BAR - 3
        parts += [
            f'<text x="{start - 8}" y="{middle}" text-anchor="end">{label}</text>',
            f'<rect class="{own}" x="{start}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"/>',
            f'<text class="quiet value" x="{start + length + 6:.1f}" y="{middle}">{times(value)}{mark}</text>',
        ]
        y += BAR + GAP
    return parts


def times(value: float) -> str:
    """A ratio in two or three digits."""
    if value < 0.0995:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 1.995 else f"{value:.1f}" if value < 99.95 else f"{value:.0f}"
