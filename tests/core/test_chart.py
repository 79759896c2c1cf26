"""The chart is well-formed, needs nothing from anywhere, shows every point, and survives any name."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Xml

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.core.replay.chart import Chart, Policy, Spot, page, svg

SVG = "{http://www.w3.org/2000/svg}"


def spot(name: str, x: float, y: float) -> Spot:
    return Spot(name=name, x=x, y=y, x_range=(x * 0.9, x * 1.1), y_range=(y - 0.02, y + 0.02))


def chart(name: str = "default") -> Chart:
    weak, strong = spot("always small", 0.0, 0.5), spot("always big", 2.0, 0.9)
    curve = [(2.0, 0.9), (1.0, 0.85), (0.0, 0.5)]
    return Chart(
        title="Cost and quality on rows",
        policies=[Policy(spot=spot(name, 1.0, 0.85), curve=curve)],
        others=[weak, strong, spot("oracle", 0.5, 0.95)],
        blind=(weak, strong),
    )


def parsed(text: str) -> Xml.Element:
    return Xml.fromstring(text)  # noqa: S314 - our own text


def test_every_point_has_a_mark_and_its_name_and_every_policy_a_line() -> None:
    drawn = parsed(svg(chart()))
    assert len(drawn.findall(f"{SVG}circle")) == 1
    assert len(drawn.findall(f"{SVG}rect")) == 3
    assert len(drawn.findall(f"{SVG}polyline")) == 1
    names = {text.text for text in drawn.findall(f"{SVG}text")}
    assert {"default", "always small", "always big", "oracle"} <= names
    assert {"$0", "$1", "$2", "50%", "90%"} <= names


def test_more_cost_is_further_right_and_more_quality_higher_up() -> None:
    drawn = parsed(svg(chart()))
    cheap, dear, oracle = ((float(mark.attrib["x"]), float(mark.attrib["y"])) for mark in drawn.findall(f"{SVG}rect"))
    assert cheap[0] < oracle[0] < dear[0]
    assert oracle[1] < dear[1] < cheap[1]  # y grows downwards


def test_the_page_needs_nothing_from_anywhere_and_follows_the_readers_theme() -> None:
    text = page(chart(), ("", "quality"), [("default", "85%")], ["A note."])
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}  # the name of SVG, which nobody fetches
    assert not re.search(r"<script|<link|<img|@import|url\(", text)
    assert "@media (prefers-color-scheme:dark)" in text
    assert "<td>85%</td>" in text
    assert "<p>A note.</p>" in text


def test_the_drawing_can_be_read_aloud() -> None:
    drawn = parsed(svg(chart()))
    assert drawn.attrib["role"] == "img"
    assert "default: quality 85% at $1" in (drawn.findtext(f"{SVG}desc") or "")


def test_two_names_at_one_place_do_not_lie_on_each_other() -> None:
    same = [spot(f"model {number}", 1.0, 0.8) for number in range(4)]
    drawn = parsed(svg(Chart(title="t", policies=[], others=same)))
    heights = [float(text.attrib["y"]) for text in drawn.findall(f"{SVG}text") if (text.text or "").startswith("model")]
    assert len(set(heights)) == 4


@given(st.text(max_size=40), st.floats(0, 1e6), st.floats(0, 1))
def test_any_name_and_any_point_give_a_well_formed_drawing(name: str, cost: float, quality: float) -> None:
    point = Spot(name=name, x=cost, y=quality, x_range=(cost, float("nan")))
    text = page(Chart(title=name, policies=[Policy(spot=point)], others=[point]), (name,), [(name,)], [name])
    drawn = parsed(text[text.index("<svg") : text.index("</svg>") + 6])
    for mark in drawn.iter():
        for key, value in mark.attrib.items():
            assert "nan" not in value or key == "class"
