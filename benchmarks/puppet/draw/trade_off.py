"""A plot of cost against quality, as an SVG file that stands by itself."""

from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT = 760, 420
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 20, 50
FONT = "font-family='sans-serif' font-size='13' fill='#222'"


def trade_off(points: Sequence[tuple[str, float, float]]) -> str:
    """points: a name or none, cost as a share, quality in dB. What nothing cheaper beats is filled and joined."""
    highest = max(quality for _, _, quality in points) + 2
    lowest = min(quality for _, _, quality in points) - 2

    def place(cost: float, quality: float) -> tuple[float, float]:
        x = LEFT + cost / 1.05 * (WIDTH - LEFT - RIGHT)
        return x, TOP + (highest - quality) / (highest - lowest) * (HEIGHT - TOP - BOTTOM)

    best = frontier(points)
    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {HEIGHT}' role='img'>",
        "<title>PSNR to the converged result against the UNet's arithmetic</title>",
        f"<rect width='{WIDTH}' height='{HEIGHT}' fill='white'/>",
    ]
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1.0):
        x, bottom = place(tick, lowest)
        parts.append(f"<line x1='{x:.0f}' y1='{TOP}' x2='{x:.0f}' y2='{bottom:.0f}' stroke='#ddd'/>")
        parts.append(f"<text x='{x:.0f}' y='{bottom + 18:.0f}' text-anchor='middle' {FONT}>{tick:g}x</text>")
    for level in range(int(lowest // 5 + 1) * 5, int(highest) + 1, 5):
        _, y = place(0, level)
        parts.append(f"<line x1='{LEFT}' y1='{y:.0f}' x2='{WIDTH - RIGHT}' y2='{y:.0f}' stroke='#ddd'/>")
        parts.append(f"<text x='{LEFT - 8}' y='{y + 4:.0f}' text-anchor='end' {FONT}>{level} dB</text>")
    line = " ".join("{:.1f},{:.1f}".format(*place(cost, quality)) for _, cost, quality in best)
    parts.append(f"<polyline points='{line}' fill='none' stroke='#36c' stroke-width='1.5'/>")
    for name, cost, quality in points:
        x, y = place(cost, quality)
        fill = "#36c" if (name, cost, quality) in best else "white"
        parts.append(f"<circle cx='{x:.1f}' cy='{y:.1f}' r='5' fill='{fill}' stroke='#36c' stroke-width='1.5'/>")
        anchor, shift = ("end", -4) if cost > 0.6 else ("start", 4)
        # Below the point, as the line rises to the right.
        parts.append(f"<text x='{x + shift:.1f}' y='{y + 19:.1f}' text-anchor='{anchor}' {FONT}>{escape(name)}</text>")
    parts.append(
        f"<text x='{(LEFT + WIDTH) / 2:.0f}' y='{HEIGHT - 10}' text-anchor='middle' {FONT}>"
        "the UNet's arithmetic, of the published settings'</text></svg>\n"
    )
    return "\n".join(parts)


def frontier(points: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float]]:
    """The points that no cheaper or equal one reaches, from the cheapest on."""
    best: list[tuple[str, float, float]] = []
    for point in sorted(points, key=lambda point: (point[1], -point[2])):
        if not best or point[2] > best[-1][2]:
            best.append(point)
    return best
