"""The chart in the documentation: bars of each server's rate as a multiple of tuned Postfix, as SVG. No I/O here.

Colours are set by a style sheet with a dark variant, so the picture suits a light and a dark page.
"""

from __future__ import annotations

from html import escape

from bench.samples import BASE, FILTERS_BASE, RSPAMD_BASE, Row, base_of

WIDTH, LEFT, RIGHT = 760, 150, 70
BAR, GAP, HEAD = 15, 5, 34

STYLE = """\
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.title { font-weight: 600; font-size: 13px }
.note { fill: #59636e; font-size: 11px }
.bar { fill: #9aa4af }
.ours { fill: #1f6feb }
.line { stroke: #59636e; stroke-width: 1; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .note { fill: #9198a1 }
  .bar { fill: #59636e }
  .ours { fill: #4493f8 }
  .line { stroke: #9198a1 }
}"""

TITLES = {
    ("a", "held", BASE): "a · accepted, one 4 KiB message a connection",
    ("b", "held", BASE): "b · accepted, many 4 KiB messages a connection",
    ("c", "held", BASE): "c · accepted, 1 MiB messages",
    ("a", "delivered", BASE): "a · end to end, into the mailbox",
    ("b", "delivered", BASE): "b · end to end, into the mailbox",
    ("c", "delivered", BASE): "c · end to end, into the mailbox",
    ("a", "held", RSPAMD_BASE): "a · accepted, both with Rspamd",
    ("b", "held", RSPAMD_BASE): "b · accepted, both with Rspamd",
    ("a", "held", FILTERS_BASE): "a · accepted, both with all checks",
}


def drawn(rows: list[Row], caption: str) -> str:
    """The SVG document. Rows without a ratio to tuned Postfix have no bar."""
    groups = []
    for (load, way, base), title in TITLES.items():
        key = "rate" if way == "held" else "end_to_end"
        bars = [
            (row.peer, row.figures[key], row.ratios[key])
            for row in rows
            if (row.load, row.way, base_of(row.peer)) == (load, way, base) and key in row.ratios
        ]
        if bars:
            groups.append((title, bars))
    longest = max((ratio for _, bars in groups for _, _, ratio in bars), default=1.0)
    scale = (WIDTH - LEFT - RIGHT) / max(longest, 1.0)
    parts: list[str] = []
    y = 24
    for title, bars in groups:
        parts.append(f'<text class="title" x="10" y="{y}">{escape(title)}</text>')
        y += 10
        top = y
        for peer, rate, ratio in bars:
            parts += _bar(y, peer, rate, ratio, scale)
            y += BAR + GAP
        x = LEFT + scale
        parts.append(f'<line class="line" x1="{x:.1f}" y1="{top - 2}" x2="{x:.1f}" y2="{y - GAP + 2}"/>')
        y += HEAD - 10
    parts.append(f'<text class="note" x="10" y="{y}">{escape(caption)}</text>')
    y += 14
    label = "Messages a second as a multiple of tuned Postfix"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y}" width="{WIDTH}" height="{y}" role="img" '
        f'aria-label="{label}">'
    )
    return "\n".join([head, f"<style>{STYLE}</style>", f"<title>{label}</title>", *parts, "</svg>"]) + "\n"


def _bar(y: int, peer: str, rate: float, ratio: float, scale: float) -> list[str]:
    kind = "ours" if peer.startswith("postane") else "bar"
    width = max(ratio * scale, 1.0)
    middle = y + BAR - 3
    words = f"{rate:,.0f}/s" if peer == base_of(peer) else f"{ratio:.1f}× · {rate:,.0f}/s"
    return [
        f'<text x="{LEFT - 8}" y="{middle}" text-anchor="end">{escape(peer)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR}" rx="2"/>',
        # Beside the bar; a long bar has its words inside the margin on the right or before its end.
        _words(LEFT + width, middle, words),
    ]


def _words(end: float, y: int, words: str) -> str:
    if end + 6 + 6.5 * len(words) <= WIDTH:
        return f'<text x="{end + 6:.1f}" y="{y}">{words}</text>'
    return f'<text x="{end - 6:.1f}" y="{y}" text-anchor="end" style="fill:#ffffff">{words}</text>'
