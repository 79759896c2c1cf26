"""How the demo looks: what it is, a live table of the rows, and the sum with what it does and does not show."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.cli.demo_contract import DELTA, EPSILON, Promised
from orchestrator.cli.demo_result import Row, Run, sum_up
from orchestrator.cli.screen import money, table, yes_no
from registry.schema import Card, Tier

_COLUMNS = ("", "prompt", "class", "model", "tier", "cost", "right?", "answer replayed from")
_TIER_STYLES = {"builtin": "green", "local": "green", "mid": "yellow", "premium": "magenta"}
# The columns beside the prompt need this many characters, with and without the last one.
_OTHER_COLUMNS, _OTHER_COLUMNS_WIDE = 76, 116
_PROMPT_CHARACTERS = range(16, 41)
# Lines around the table: heading, borders, sum and prompt of the shell.
_OTHER_LINES = 8
_PACE_S = 0.12


def explain(console: Console) -> None:
    console.print(
        Text.assemble(
            ("REPLAY ", "bold yellow"),
            "No model is asked. A local server stands in for every provider and replays answers that other models "
            "once gave to public benchmark questions, or openly synthetic ones. Routing, prices, budget, ledger and "
            "log are the real ones.\n",
        ),
        soft_wrap=False,
    )


class Board:
    """The last rows, live, in a terminal; nothing until the end where output goes to a file."""

    def __init__(self, console: Console, expected: int) -> None:
        self._console, self._expected = console, expected
        self._lines = max(5, console.size.height - _OTHER_LINES)
        self._live = Live(console=console, transient=True, refresh_per_second=12)
        self.pace_s = _PACE_S if console.is_terminal else 0.0

    def __enter__(self) -> Board:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def show(self, rows: Sequence[Row]) -> None:
        shown = rows_table(rows, self._console.width, last=self._lines)
        summary = sum_up(rows)
        shown.caption = f"{len(rows)} of {self._expected} · {money(summary.total_nanousd)} so far"
        self._live.update(shown)


def rows_table(rows: Sequence[Row], width: int, last: int | None = None) -> Table:
    numbered = list(enumerate(rows, 1))[-(last or len(rows)) :]
    wide = width >= _OTHER_COLUMNS_WIDE + _PROMPT_CHARACTERS[0]
    columns = len(_COLUMNS) if wide else len(_COLUMNS) - 1
    left = width - (_OTHER_COLUMNS_WIDE if wide else _OTHER_COLUMNS)
    room = min(max(left, _PROMPT_CHARACTERS[0]), _PROMPT_CHARACTERS[-1])
    cells = [_cells(number, row, room)[:columns] for number, row in numbered]
    return table(_COLUMNS[:columns], cells, right=("", "cost"))


def _cells(number: int, row: Row, room: int) -> tuple[object, ...]:
    words = " ".join(row.prompt.text.split())
    short = words if len(words) <= room else f"{words[: room - 1]}…"
    answer = row.answer
    tier = Text(answer.tier, style=_TIER_STYLES.get(answer.tier, ""))
    right = Text("–", style="dim") if row.correct is None else yes_no(row.correct)
    cost = money(answer.cost_nanousd) if answer.cost_nanousd else "free"
    model = answer.model.rpartition("/")[2]
    return number, short, answer.why["complexity"], model, tier, cost, right, Text(row.source, style="dim")


def show_promise(console: Console, promised: Promised) -> None:
    """What was certified, on what, and what it lets the cheap models answer."""
    first = promised.contracts[0]
    console.print(
        Text.assemble(
            ("\nCONTRACT ", "bold green"),
            f"for the class {first.task_class!r}, certified on recorded outcomes of {promised.labels:,} other "
            f"questions of the same sets: at least {1 - EPSILON:.0%} of {first.reference}'s quality, with probability "
            f"{1 - DELTA:.0%}.",
        )
    )
    for contract in promised.contracts:
        certificate = contract.certificate
        share = (
            f"about {certificate.weak_share:.0%} of requests may go to it" if certificate.weak_share else "nothing yet"
        )
        words = f"  {contract.weak:<28} {certificate!s}: {share}, for {certificate.epsilon:.0%} of the quality\n"
        console.print(Text(words, style="dim"), end="")


def show_summary(console: Console, runs: Sequence[Run], promised: Promised, premium: Card) -> None:
    """The last run's table, then for each way what it cost and how much was right, and what these figures rest on."""
    console.print(rows_table(runs[-1].rows, console.width))
    console.print(points_table(runs, premium))
    _show_kept(console, runs[-1], premium)
    console.print(
        Text(
            "\nWhat this rests on: the grades and token counts are those recorded for the models named on the right, "
            f"the prices those of the cards of today ({premium.id} for the comparison). A model of today would answer "
            "differently. A contract speaks of the mean over its class, not of these few questions: on so few, chance "
            "moves the right answers by several. Its score has seen these public questions in training; on traffic of "
            "your own it has not. Synthetic answers are not compared.",
            style="dim",
        ),
        highlight=False,
    )


def points_table(runs: Sequence[Run], premium: Card) -> Table:
    """The cost–quality points: each way of routing beside always asking the premium model, on the same questions."""
    last = sum_up(runs[-1].rows)
    cells: list[tuple[object, ...]] = [
        (f"always {premium.id}", "0%", money(last.premium_nanousd), f"{last.premium_correct} of {last.compared}", "")
    ]
    for run in runs:
        summary = sum_up(run.rows)
        local = f"{summary.local / summary.prompts:.0%}"
        right = f"{summary.routed_correct} of {summary.compared}"
        cells.append((run.name, local, money(summary.routed_nanousd), right, f"{summary.saving:.0%}"))
    columns = ("routed", "on this machine", f"cost of {last.compared}", "right answers", "saved")
    return table(columns, cells, right=columns[1:])


def _show_kept(console: Console, run: Run, premium: Card) -> None:
    rows = [row for row in run.under_contract if row.correct is not None]
    right, best = sum(bool(row.correct) for row in rows), sum(row.prompt.answers[Tier.PREMIUM].correct for row in rows)
    if best:
        words = f"{len(rows)} questions stood under the contract: {right} right, {premium.id} alone {best}"
        console.print(Text(f"{words} ({right / best:.0%}; promised on average: {1 - EPSILON:.0%})."), highlight=False)
