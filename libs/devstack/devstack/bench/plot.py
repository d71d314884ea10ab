"""A suite's standings as a picture: one bar per contestant, on a logarithmic scale. Pure."""

from math import ceil, floor, log10
from xml.sax.saxutils import escape

from devstack.bench.contest import OURS, SuiteReport

_WIDTH, _LABEL, _BAR, _GAP, _MARGIN = 760, 130, 26, 12, 36
_SCALE = _WIDTH - _LABEL - 150


def svg(found: SuiteReport) -> str:
    """Events per CPU second, the fastest first, and how many times as fast as each of the others we are."""
    standings = sorted(found.standings.items(), key=lambda item: -item[1].events_per_cpu_s)
    values = [standing.events_per_cpu_s for _, standing in standings]
    least, most = floor(log10(min(values))), ceil(log10(max(values)))
    height = _MARGIN + len(standings) * (_BAR + _GAP) + _MARGIN

    def x(value: float) -> float:
        return _LABEL + (log10(value) - least) / max(1, most - least) * _SCALE

    shapes = [
        f'<line x1="{x(10**power):.0f}" x2="{x(10**power):.0f}" y1="{_MARGIN - 6}" y2="{height - _MARGIN}" '
        f'stroke="#8884"/><text x="{x(10**power):.0f}" y="{height - _MARGIN + 16}" text-anchor="middle" '
        f'fill="#888">{10**power:,}</text>'
        for power in range(least, most + 1)
    ]
    for number, (name, standing) in enumerate(standings):
        top, end = _MARGIN + number * (_BAR + _GAP), x(standing.events_per_cpu_s)
        ratio = "" if name == OURS else f"  (ours: {found.ratios[name]:.3g} ×)"
        shapes += [
            f'<text x="{_LABEL - 8}" y="{top + 18}" text-anchor="end" fill="#888">{escape(name)}</text>',
            f'<rect x="{_LABEL}" y="{top}" width="{end - _LABEL:.0f}" height="{_BAR}" rx="3" '
            f'fill="{"#e4572e" if name == OURS else "#4a7ba6"}"/>',
            f'<text x="{end + 6:.0f}" y="{top + 18}" fill="#888">{standing.events_per_cpu_s:,.0f}{ratio}</text>',
        ]
    title = f'<text x="{_LABEL}" y="18" fill="#888">{found.suite}: events per CPU second, logarithmic</text>'
    body = "\n".join([title, *shapes])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="13">\n{body}\n</svg>\n'
    )
