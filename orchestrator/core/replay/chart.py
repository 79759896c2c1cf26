"""Draws cost against quality as one SVG text, and as one HTML page around it. Computes no figure, asks for no file.

Colours follow the reader's light or dark theme through CSS variables; nothing is fetched from anywhere. Colour never
speaks alone: every mark has its own shape and its name beside it, and the page holds the figures as a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape as escaped
from math import ceil, floor, isfinite, log10

_WIDTH, _HEIGHT = 860, 520
_LEFT, _RIGHT, _TOP, _BOTTOM = 84, 24, 24, 64
_TICKS = 6
_LABEL_HEIGHT = 15  # pixels between two names that would otherwise lie on each other
_LABEL_WIDTH = 7.2  # of a character, about
_COLOURS = 5  # of policies; further ones begin again

_STYLE = """
:root{color-scheme:light dark;--paper:#ffffff;--ink:#1b1f24;--dim:#59636e;--grid:#d9dee3;--c0:#0757ba;--c1:#b1361e;
--c2:#1a6b32;--c3:#7a3fb0;--c4:#8a5a00}
@media (prefers-color-scheme:dark){:root{--paper:#0e1116;--ink:#e8ebef;--dim:#a3adb8;--grid:#2c333b;--c0:#79b4ff;
--c1:#ff9b85;--c2:#74d18d;--c3:#cfa6ff;--c4:#eab85c}}
"""
_SVG_STYLE = """
.pennyroute{background:var(--paper);font:13px system-ui,-apple-system,"Segoe UI",sans-serif;max-width:100%;height:auto}
.pennyroute text{fill:var(--ink)}.pennyroute .halo{fill:none;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}
.pennyroute .dim{fill:var(--dim)}.pennyroute .grid{stroke:var(--grid)}
.pennyroute .mark{fill:var(--paper);stroke:var(--ink);stroke-width:1.6}.pennyroute .dash{stroke:var(--dim);
stroke-dasharray:5 4;fill:none;stroke-width:1.4}.pennyroute .lead{stroke:var(--dim);stroke-width:.8}
.pennyroute .k0{stroke:var(--c0)}.pennyroute .k1{stroke:var(--c1)}.pennyroute .k2{stroke:var(--c2)}
.pennyroute .k3{stroke:var(--c3)}.pennyroute .k4{stroke:var(--c4)}.pennyroute .f0{fill:var(--c0)}
.pennyroute .f1{fill:var(--c1)}.pennyroute .f2{fill:var(--c2)}.pennyroute .f3{fill:var(--c3)}
.pennyroute .f4{fill:var(--c4)}
.pennyroute .line{fill:none;stroke-width:2.2}.pennyroute .bar{stroke-width:1.6;fill:none}
"""
_PAGE_STYLE = """
body{background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;
max-width:60rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .8rem .3rem 0;text-align:right;border-bottom:1px solid var(--grid)}
th:first-child,td:first-child{text-align:left}p.dim,caption{color:var(--dim)}.scroll{overflow-x:auto}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spot:
    """A named point; `x_range` and `y_range` are its intervals, drawn as bars."""

    name: str
    x: float
    y: float
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """A policy's own point, and the curve of its laxer and stricter forms as (cost, quality)."""

    spot: Spot
    curve: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Chart:
    """Cost (dollars per 1,000 requests) against quality (share of 1). `blind` joins two ends: what dealing requests
    to them at random would give."""

    title: str
    policies: Sequence[Policy]
    others: Sequence[Spot]
    blind: tuple[Spot, Spot] | None = None


@dataclass(frozen=True, slots=True)
class _Axis:
    low: float
    high: float
    start: float
    stop: float

    def __call__(self, value: float) -> float:
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.stop - self.start), 1)

    def ticks(self) -> list[float]:
        raw = (self.high - self.low) / _TICKS
        unit = 10.0 ** floor(log10(raw))
        step = next(each * unit for each in (1, 2, 2.5, 5, 10) if each * unit >= raw)
        first, last = ceil(self.low / step - 1e-9), floor(self.high / step + 1e-9)
        return [round(number * step, 12) for number in range(first, last + 1)]


def svg(chart: Chart) -> str:
    """The drawing, with its own style: it can stand in a page or in a file of its own."""
    spots = [*(policy.spot for policy in chart.policies), *chart.others]
    x, y = _axes(chart, spots)
    parts = [
        f'<svg class="pennyroute" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-labelledby="pr-title pr-desc">',
        f'<title id="pr-title">{escape(chart.title)}</title>',
        f'<desc id="pr-desc">{escape(_described(spots))}</desc>',
        f"<style>{_STYLE}{_SVG_STYLE}</style>",
        *_frame(x, y),
        *_blind(chart, x, y),
    ]
    for number, policy in enumerate(chart.policies):
        parts += _policy(policy, number % _COLOURS, x, y)
    for spot in chart.others:
        parts += _other(spot, x, y)
    parts += _names(spots, x, y)
    return "\n".join([*parts, "</svg>"])


def page(chart: Chart, headings: Sequence[str], rows: Iterable[Sequence[str]], notes: Sequence[str]) -> str:
    """One HTML text that needs nothing else: the drawing, the figures as a table, what they are based on."""
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings)
    body = "\n".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    told = "\n".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(chart.title)}</title><style>{_STYLE}{_PAGE_STYLE}</style></head><body>
<h1>{escape(chart.title)}</h1>
{svg(chart)}
<p class="dim">Up and to the left is better. Bars and brackets are 95% intervals; a line is a policy made laxer or
stricter; the dashed line deals requests to its two ends at random.</p>
<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>
{body}
</tbody></table></div>
{told}
</body></html>
"""


def escape(text: str) -> str:
    """For XML, which holds no control characters: names come from files that people wrote."""
    return escaped("".join(each if each.isprintable() else " " for each in text))


def _axes(chart: Chart, spots: Sequence[Spot]) -> tuple[_Axis, _Axis]:
    curves = [point for policy in chart.policies for point in policy.curve]
    xs = [value for spot in spots for value in (spot.x, *(spot.x_range or ()))] + [point[0] for point in curves]
    ys = [value for spot in spots for value in (spot.y, *(spot.y_range or ()))] + [point[1] for point in curves]
    low_x, high_x = _span(xs, floor_at=0.0)
    low_y, high_y = _span(ys)
    return _Axis(low_x, high_x, _LEFT, _WIDTH - _RIGHT), _Axis(low_y, high_y, _HEIGHT - _BOTTOM, _TOP)


def _span(values: Sequence[float], floor_at: float | None = None) -> tuple[float, float]:
    known = [value for value in values if isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    edge = (high - low) * 0.06 or max(abs(high) * 0.1, 1e-6)
    return (floor_at if floor_at is not None and low >= floor_at else low - edge), high + edge


def _frame(x: _Axis, y: _Axis) -> Iterable[str]:
    for tick in x.ticks():
        yield f'<line class="grid" x1="{x(tick)}" y1="{_TOP}" x2="{x(tick)}" y2="{_HEIGHT - _BOTTOM}"/>'
        yield f'<text class="dim" x="{x(tick)}" y="{_HEIGHT - _BOTTOM + 20}" text-anchor="middle">${tick:g}</text>'
    for tick in y.ticks():
        yield f'<line class="grid" x1="{_LEFT}" y1="{y(tick)}" x2="{_WIDTH - _RIGHT}" y2="{y(tick)}"/>'
        yield f'<text class="dim" x="{_LEFT - 10}" y="{y(tick) + 4:g}" text-anchor="end">{_percent(tick)}</text>'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    yield f'<text x="{middle:g}" y="{_HEIGHT - 14}" text-anchor="middle">cost of 1,000 requests, in dollars</text>'
    across = (_TOP + _HEIGHT - _BOTTOM) / 2
    yield (
        f'<text x="20" y="{across:g}" text-anchor="middle" transform="rotate(-90 20 {across:g})">'
        "mean quality of the answers</text>"
    )


def _percent(share: float) -> str:
    return f"{round(share * 100, 6):g}%"


def _blind(chart: Chart, x: _Axis, y: _Axis) -> Iterable[str]:
    if chart.blind:
        one, other = chart.blind
        yield f'<line class="dash" x1="{x(one.x)}" y1="{y(one.y)}" x2="{x(other.x)}" y2="{y(other.y)}"/>'


def _policy(policy: Policy, colour: int, x: _Axis, y: _Axis) -> Iterable[str]:
    if len(policy.curve) > 1:
        points = " ".join(f"{x(cost)},{y(quality)}" for cost, quality in policy.curve)
        yield f'<polyline class="line k{colour}" points="{points}"/>'
    yield from _bars(policy.spot, f"bar k{colour}", x, y)
    yield f'<circle class="f{colour}" cx="{x(policy.spot.x)}" cy="{y(policy.spot.y)}" r="5.5"/>'


def _other(spot: Spot, x: _Axis, y: _Axis) -> Iterable[str]:
    yield from _bars(spot, "bar lead", x, y)
    at_x, at_y = x(spot.x), y(spot.y)
    yield f'<rect class="mark" x="{at_x - 4.5:g}" y="{at_y - 4.5:g}" width="9" height="9"/>'


def _bars(spot: Spot, style: str, x: _Axis, y: _Axis) -> Iterable[str]:
    at_x, at_y = x(spot.x), y(spot.y)
    if spot.x_range and all(map(isfinite, spot.x_range)):
        low, high = map(x, spot.x_range)
        yield f'<path class="{style}" d="M{low} {at_y - 4:g}v8M{high} {at_y - 4:g}v8M{low} {at_y}H{high}"/>'
    if spot.y_range and all(map(isfinite, spot.y_range)):
        low, high = map(y, spot.y_range)
        yield f'<path class="{style}" d="M{at_x - 4:g} {low}h8M{at_x - 4:g} {high}h8M{at_x} {low}V{high}"/>'


def _names(spots: Sequence[Spot], x: _Axis, y: _Axis) -> Iterable[str]:
    """Every name beside its mark, on the side with room, moved down until it lies on no other."""
    taken: list[tuple[float, float, float]] = []
    for spot in sorted(spots, key=lambda each: (y(each.y), x(each.x))):
        at_x, wide = x(spot.x), len(spot.name) * _LABEL_WIDTH
        left = at_x + 12 + wide > _WIDTH - _RIGHT
        start = at_x - 12 - wide if left else at_x + 12
        at_y = y(spot.y) - 9.0
        while any(abs(at_y - other) < _LABEL_HEIGHT and start < b and a < start + wide for a, b, other in taken):
            at_y += _LABEL_HEIGHT
        taken.append((start, start + wide, at_y))
        if abs(at_y - y(spot.y)) > 2 * _LABEL_HEIGHT:
            end = at_x + (-10 if left else 10)
            yield f'<line class="lead" x1="{at_x}" y1="{y(spot.y)}" x2="{end:g}" y2="{at_y:g}"/>'
        anchor = "end" if left else "start"
        shown = escape(spot.name)
        place = f'x="{at_x + (-12 if left else 12):g}" y="{at_y:g}" text-anchor="{anchor}"'
        yield f'<text class="halo" aria-hidden="true" {place}>{shown}</text>'  # lines would cross the name otherwise
        yield f"<text {place}>{shown}</text>"


def _described(spots: Sequence[Spot]) -> str:
    told = "; ".join(f"{spot.name}: quality {_percent(round(spot.y, 4))} at ${spot.x:.4g}" for spot in spots)
    return f"Mean quality against the cost of 1,000 requests. {told}."
