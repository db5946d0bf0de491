"""Draws hit rate against false-hit rate as SVG."""

import math
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, MARGIN, COLUMNS = 380, 300, 52, 3
TICKS_X = (0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
COLOURS = {"cosine": "#b0413e", "ours": "#1f6f8b"}


@dataclass(frozen=True)
class Panel:
    """A title, two lines of (false hits, hits), the points that are the default, and the target."""

    title: str
    cosine: list[tuple[float, float]]
    ours: list[tuple[float, float]]
    now: dict[str, tuple[float, float]]
    target: tuple[float, float] | None = None


def draw(panels: list[Panel], path: Path) -> None:
    """Write all panels into one picture."""
    rows = math.ceil(len(panels) / COLUMNS)
    columns = min(COLUMNS, len(panels))
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH * columns}" height="{HEIGHT * rows + 30}" '
            f'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
        )
    ]
    for number, panel in enumerate(panels):
        x, y = number % COLUMNS * WIDTH, number // COLUMNS * HEIGHT
        parts.append(f'<g transform="translate({x},{y})">{_draw_panel(panel)}</g>')
    legend = HEIGHT * rows + 18
    for at, (name, colour) in enumerate(
        (("plain cosine, threshold swept", "cosine"), ("RelayCore's policy, probability swept", "ours"))
    ):
        parts.append(
            f'<rect x="{MARGIN + at * 260}" y="{legend - 9}" width="14" height="10" fill="{COLOURS[colour]}"/>'
        )
        parts.append(f'<text x="{MARGIN + 20 + at * 260}" y="{legend}">{name}</text>')
    parts.append(f'<text x="{MARGIN + 540}" y="{legend}">&#9679; default &#160; + first target</text></svg>')
    path.write_text("\n".join(parts))


def _draw_panel(panel: Panel) -> str:
    everything = panel.cosine + panel.ours + list(panel.now.values())
    most = max([x for x, _ in everything] + [0.01])

    def place(x: float, y: float) -> tuple[float, float]:
        # A root spreads what lies near nothing, which is where a cache has to be.
        return MARGIN + math.sqrt(x / most) * (WIDTH - MARGIN - 20), HEIGHT - 40 - y * (HEIGHT - 75)

    parts = [f'<text x="{WIDTH / 2}" y="18" text-anchor="middle" font-size="13">{panel.title}</text>']
    for tick in TICKS_X:
        if tick <= most:
            x, y = place(tick, 0)
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{place(0, 1)[1]}" stroke="#eee"/>')
            parts.append(f'<text x="{x:.1f}" y="{y + 14}" text-anchor="middle">{tick:g}</text>')
    for tick in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(0, tick)
        parts.append(f'<line x1="{x}" x2="{WIDTH - 20}" y1="{y:.1f}" y2="{y:.1f}" stroke="#eee"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 10}" text-anchor="middle">false hits (root scale)</text>')
    parts.append(f'<text transform="translate(14,{HEIGHT / 2}) rotate(-90)" text-anchor="middle">hits</text>')
    for name, line in (("cosine", panel.cosine), ("ours", panel.ours)):
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{COLOURS[name]}" stroke-width="1.8"/>')
        if name in panel.now:
            x, y = place(*panel.now[name])
            parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[name]}"/>')
    if panel.target is not None and panel.target[0] <= most:
        x, y = place(*panel.target)
        parts.append(f'<path d="M{x - 5:.1f} {y:.1f}h10M{x:.1f} {y - 5:.1f}v10" stroke="#222" stroke-width="1.5"/>')
    return "".join(parts)
