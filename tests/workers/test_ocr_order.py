"""Reading order and the geometry of boxes, without any network: every piece is placed by hand."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.reading.order import Piece, lines
from workers.reading.quads import angle, clockwise, cut, level, size, turned


def at(text: str, left: float, top: float, width: float = 200, height: float = 20) -> Piece:
    """A piece of text whose box is level."""
    quad = np.array(
        [[left, top], [left + width, top], [left + width, top + height], [left, top + height]], dtype=np.float32
    )
    right, bottom = left + width, top + height
    return Piece(text=text, confidence=0.9, quad=quad, left=left, top=top, right=right, bottom=bottom)


def read(*pieces: Piece) -> list[str]:
    return [line.text for line in lines(pieces)]


def column(name: str, left: float, top: float, rows: int = 4) -> list[Piece]:
    return [at(f"{name}{row}", left, top + 30 * row) for row in range(rows)]


def test_pieces_of_one_row_are_joined_by_a_space_or_over_a_wide_gap_by_a_tab() -> None:
    assert read(at("Total", 0, 0, 50), at("due", 60, 1, 30), at("12.00", 300, 2, 50)) == ["Total due\t12.00"]


def test_a_joined_line_reaches_from_its_first_piece_to_its_last_and_is_as_sure_as_its_worst() -> None:
    (line,) = lines([at("Total", 0, 0, 50), at("due", 60, 2, 30)])
    assert line.quad.tolist() == [[0, 0], [90, 2], [90, 22], [0, 20]]
    assert line.confidence == 0.9


def test_rows_come_top_to_bottom() -> None:
    assert read(at("c", 5, 60), at("a", 9, 0), at("b", 0, 30)) == ["a", "b", "c"]


def test_two_columns_are_read_one_after_the_other_even_where_their_lines_are_not_level() -> None:
    pieces = [*column("L", 0, 0), *column("R", 240, 11)]
    assert read(*pieces) == ["L0", "L1", "L2", "L3", "R0", "R1", "R2", "R3"]


def test_three_columns_are_read_one_after_the_other() -> None:
    pieces = [*column("A", 0, 0), *column("B", 240, 0), *column("C", 480, 0)]
    assert read(*pieces) == [f"{name}{row}" for name in "ABC" for row in range(4)]


def test_a_heading_between_columns_parts_them() -> None:
    upper = [*column("a", 0, 40), *column("b", 240, 40)]
    lower = [*column("c", 0, 250), *column("d", 240, 250)]
    heads = [at("First", 0, 0, 440), at("Second", 0, 200, 440)]
    expected = ["First"] + [f"a{n}" for n in range(4)] + [f"b{n}" for n in range(4)]
    expected += ["Second"] + [f"c{n}" for n in range(4)] + [f"d{n}" for n in range(4)]
    assert read(*upper, *lower, *heads) == expected


def test_a_heading_that_was_cut_at_a_space_stays_whole() -> None:
    heads = [at("A heading over both", 0, 0, 300), at("columns", 310, 0, 100)]
    assert read(*heads, *column("L", 0, 40), *column("R", 240, 40))[0] == "A heading over both columns"


def test_a_table_is_read_row_by_row() -> None:
    rows = [[at(f"item {n}", 0, 30 * n, 150), at(str(n), 300, 30 * n, 20)] for n in range(4)]
    assert read(*chain(*rows)) == ["item 0\t0", "item 1\t1", "item 2\t2", "item 3\t3"]


def test_a_line_that_stands_in_the_margin_joins_no_row() -> None:
    assert read(at("one", 0, 0), at("two", 0, 30), at("margin", 210, 0, 20, 300)) == ["one", "two", "margin"]


PLACES = st.tuples(st.integers(0, 900), st.integers(0, 900), st.integers(5, 500), st.integers(5, 60))


@given(st.lists(PLACES, max_size=25))
def test_every_piece_is_read_exactly_once_however_they_lie(places: list[tuple[int, int, int, int]]) -> None:
    pieces = [at(f"<{number}>", *place) for number, place in enumerate(places)]
    read_words = " ".join(read(*pieces)).split()
    assert sorted(read_words) == sorted(piece.text for piece in pieces)


@pytest.mark.parametrize("degrees", [0, 30, 44, -44, -5])
@pytest.mark.parametrize("start", [0, 1, 2, 3])
@pytest.mark.parametrize("step", [1, -1])
def test_corners_are_put_clockwise_from_the_one_whose_edge_points_right(degrees: int, start: int, step: int) -> None:
    box = np.array([[0, 0], [100, 0], [100, 20], [0, 20]], dtype=np.float32)
    tilted = level(box, -degrees)
    assert np.allclose(clockwise(np.roll(tilted, start, axis=0)[::step]), tilted, atol=1e-3)
    assert angle(tilted) == pytest.approx(degrees, abs=0.01)
    assert size(tilted) == pytest.approx((100, 20), abs=0.01)


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_a_line_is_cut_out_the_way_it_is_read(degrees: int) -> None:
    line = np.tile(np.arange(0, 250, 5, dtype=np.uint8)[None, :, None], (10, 1, 3))  # dark to light as it is read
    sheet = np.zeros((80, 80, 3), np.uint8)
    lying = np.rot90(line, -degrees // 90)
    height, width = lying.shape[:2]
    sheet[20 : 20 + height, 15 : 15 + width] = lying
    corners = [[15, 20], [15 + width, 20], [15 + width, 20 + height], [15, 20 + height]]
    found = cut(sheet, turned(np.array(corners, dtype=np.float32), degrees))
    assert found.shape == (10, 50, 3)
    assert found[5, 5:45, 0].tolist() == sorted(found[5, 5:45, 0].tolist())
    assert found[5, 3, 0] < 40
    assert found[5, 46, 0] > 200
