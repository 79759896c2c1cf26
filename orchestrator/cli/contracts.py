"""`pennyroute contracts`: what is promised, promising it on labels, taking it back; certifies nothing itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isinf
from pathlib import Path
from typing import Annotated, Any
from uuid import NAMESPACE_OID, uuid5

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.cli.database import DatabaseUrl, find_database
from orchestrator.cli.screen import AsJson, note, screen, show_json, table
from orchestrator.cli.server import DataDir, Key, NotRunning, Url, connect
from orchestrator.cli.simulate_files import LOG, read_file
from orchestrator.core.contract.certificate import Contract, Reads, State
from orchestrator.core.errors import InvalidInput
from orchestrator.core.replay.recorded import Recorded
from orchestrator.flow.certify import Certified, Promised, Say, certified, put_in_force, revoke
from orchestrator.ports import Label
from registry.load import Registry, UnknownModel, load

app = typer.Typer(
    help="Promise quality per task class, and see whether it is kept.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)
_BY = "pennyroute contracts"


@app.callback()
def _group() -> None: ...


@app.command("list")
def list_command(*, as_json: AsJson = False, url: Url = None, key: Key = None, data_dir: DataDir = None) -> None:
    """Show every contract of the active policy: its promise, how it stands, and what live labels say against it.

    **Example**

    ```text
    pennyroute contracts list
    ```
    """
    with connect(url, key, data_dir) as client:
        told = client.contracts()
    if as_json:
        show_json(told)
        return
    rows = [_row(contract) for contract in told["contracts"]]
    screen().print(table(("class", "promise", "standing", "labels", "watched", "evidence against"), rows))
    if not rows:
        note("No contract is made yet: `pennyroute contracts certify --help` says how.")


@app.command("certify")
def certify_command(
    data: Annotated[
        str,
        typer.Argument(
            help="JSON lines of judged requests (.gz too), or `log`: the labels kept in the database.",
            metavar="FILE|log",
        ),
    ],
    *,
    task_class: Annotated[str, typer.Option(help="The class of requests that is promised about.")],
    weak: Annotated[str, typer.Option(help="The cheap model that may answer where the promise is kept.")],
    reference: Annotated[str, typer.Option(help="The good model that the promise is measured by.")],
    epsilon: Annotated[float, typer.Option(min=0, max=0.5, help="Share of its quality that may be lost.")] = 0.05,
    delta: Annotated[float, typer.Option(min=0.001, max=0.5, help="Probability that the promise is false.")] = 0.1,
    learn: Annotated[
        bool, typer.Option("--learn", help="First learn a score of your own from half of the labels.")
    ] = False,
    read_answer: Annotated[
        bool, typer.Option("--read-answer", help="Let the weak model answer first, and its graded answer decide.")
    ] = False,
    compared: Annotated[
        list[str] | None,
        typer.Option(metavar="MODEL", help="With --read-answer: a cheap model asked before it, to agree or not."),
    ] = None,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="RECORDED=CARD", help="Which model a name in FILE stands for; repeat per model."),
    ] = None,
    scale: Annotated[float, typer.Option(min=0.001, help="Best score there is: 10 for marks out of ten.")] = 1.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be promised; change nothing.")] = False,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Promise that a task class keeps at least (1 − epsilon) × the reference's quality, and route by it.

    Each line is one request that both models answered and somebody judged, from 0 (useless) to 1 (right):
    `{"text": "…", "outcomes": {"llama-3.2-1b-instruct": 1, "claude-sonnet": 0.8}}`, or a row of the routing
    benchmark. Take them as they come: a sample picked by hand proves nothing about the rest.

    The contract is **met** where the labels show, with probability 1 − delta, that requests scored below a threshold
    may go to the weak model; else the reference keeps answering, and what is missing is said. Certify again only on
    new labels: each try spends its own delta. Live labels (`pennyroute label`) watch it and revoke it.

    With `--read-answer` the weak model is always asked, and the grade of its answer decides; with `--compared` other
    cheap models are asked before it and the grade says whether they agree. That certifies far more than the query
    alone where answers can be compared, and costs the cheap calls. Lines then need `"answers": {model: text}`.

    A running API follows within seconds. A dry run on a file needs no database. Rows that the score itself was
    trained on prove nothing: the shipped one knows the public routing sets (the last example only shows the form).

    **Examples**

    ```text
    pennyroute contracts certify judged.jsonl --task-class support \\
        --weak llama-3.2-1b-instruct --reference claude-sonnet
    pennyroute contracts certify judged.jsonl --task-class support --learn --dry-run \\
        --weak llama-3.2-1b-instruct --reference claude-sonnet --epsilon 0.02
    pennyroute contracts certify log --task-class simple --weak deepseek-chat --reference claude-sonnet
    pennyroute contracts certify mmlu.jsonl.gz --task-class mmlu --learn \\
        --weak llama-3.2-1b-instruct --reference claude-sonnet \\
        --map mixtral-8x7b-instruct=llama-3.2-1b-instruct --map gpt-4-1106-preview=claude-sonnet
    ```
    """
    registry = load()
    promised = Promised(
        task_class=task_class,
        weak=_card(registry, weak, "--weak"),
        reference=_card(registry, reference, "--reference"),
        epsilon=epsilon,
        delta=delta,
        reads=Reads.ANSWER if read_answer or compared else Reads.QUERY,
        compared=tuple(_card(registry, name, "--compared") for name in compared or ()),
    )
    named = (promised.weak, promised.reference, *promised.compared)
    if len(set(named)) < len(named):
        raise InvalidInput(f"{', '.join(named)}: one of them is named twice; name different models.", field="reference")
    labels = None if data == LOG else _labels(read_file(Path(data), scale).rows, task_class, _mapped(registry, map_))
    url = _database(database_url, data_dir, needed=labels is None or not dry_run)
    with _progress(quiet=as_json) as say:
        made, contract = asyncio.run(_certify(url, promised, labels, learn, dry_run, say))
    if as_json:
        show_json(_told(made, contract, dry_run))
    else:
        _show(made, contract, dry_run)


@app.command("revoke")
def revoke_command(
    task_class: Annotated[str, typer.Argument(help="The class whose contracts are taken back.")],
    *,
    weak: Annotated[str | None, typer.Option(help="Only the contract of this weak model.")] = None,
    as_json: AsJson = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = None,
) -> None:
    """Take the contracts of a class back: its reference model answers from now on, until it is certified again.

    **Example**

    ```text
    pennyroute contracts revoke support
    ```
    """
    revoked = asyncio.run(_revoke(find_database(database_url, data_dir), task_class, weak))
    if as_json:
        show_json({"revoked": [each.as_dict() for each in revoked]})
        return
    for each in revoked:
        screen().print(Text(f"revoked: {each.task_class}, {each.weak}; {each.reference} answers"))


async def _certify(
    url: str | None, promised: Promised, labels: Sequence[Label] | None, learn: bool, dry_run: bool, say: Say
) -> tuple[Certified, Contract]:
    async with _desk(url) as desk:
        found = await desk.labels.of_class(None, promised.task_class) if labels is None else labels
        made = await certified(desk, promised, found, learned=learn, say=say)
        return made, made.contract if dry_run else await put_in_force(desk, made, by=_BY)


async def _revoke(url: str, task_class: str, weak: str | None) -> Sequence[Contract]:
    async with _desk(url) as desk:
        return await revoke(desk, task_class=task_class, weak=weak, by=_BY)


def _desk(url: str | None) -> Any:
    from orchestrator import wiring  # noqa: PLC0415 - loads every provider's SDK: a second that --help need not wait

    return wiring.open_desk(url)


def _database(database_url: str | None, data_dir: Path | None, *, needed: bool) -> str | None:
    """A dry run on a file takes what is there: without a database the shipped score and no policy."""
    try:
        return find_database(database_url, data_dir)
    except NotRunning:
        if needed:
            raise
        return None


def _labels(rows: Sequence[Recorded], task_class: str, cards: Mapping[str, str]) -> list[Label]:
    return [
        Label(
            id=uuid5(NAMESPACE_OID, f"{number} {row.id}"),
            tenant="default",
            task_class=task_class,
            outcomes={cards.get(name, name): outcome.quality for name, outcome in row.outcomes.items()},
            text=row.text,
            answers=_answers(row, cards),
        )
        for number, row in enumerate(rows)
    ]


def _answers(row: Recorded, cards: Mapping[str, str]) -> dict[str, str]:
    """Where only the final answer was kept, the shortest answer that comes to it."""
    finals = {name: f"The answer is {each.final}." for name, each in row.outcomes.items() if each.final is not None}
    return {cards.get(name, name): text for name, text in {**finals, **row.answers}.items()}


def _mapped(registry: Registry, pairs: Sequence[str] | None) -> dict[str, str]:
    """Aliases of cards too are read as their ids."""
    found = dict(registry.by_alias)
    for pair in pairs or ():
        recorded, _, card = pair.partition("=")
        if not recorded or not card:
            raise InvalidInput(f"--map {pair!r} names no pair; write RECORDED=CARD.", field="map")
        found[recorded] = _card(registry, card, "--map")
    return found


def _card(registry: Registry, name: str, option: str) -> str:
    """Its id; a model of an open server (`name/model`) has no card in the files and is taken as it is."""
    try:
        return registry.get(name).id
    except UnknownModel as error:
        if "/" in name:
            return name
        raise InvalidInput(f"{option} {name!r}: {error}", field=option.removeprefix("--")) from error


@contextmanager
def _progress(*, quiet: bool) -> Iterator[Say]:
    """What is being done, on standard error, while it is being done."""
    console = Console(stderr=True, quiet=quiet)
    with console.status("reading") as status:

        def say(words: str) -> None:
            console.print(Text(words, style="dim"))
            status.update(words)

        yield say


def _show(made: Certified, contract: Contract, dry_run: bool) -> None:
    certificate = contract.certificate
    good = contract.state is State.MET
    screen().print(Text(_words(contract), style="bold green" if good else "bold yellow"), soft_wrap=True)
    facts: list[tuple[str, object]] = [
        ("promise", f"at least {1 - certificate.epsilon:.1%} of {contract.reference}'s quality"),
        ("with probability", f"{1 - certificate.delta:.1%}"),
        ("labels", f"{certificate.n:,}{f', {made.left_out:,} left out' if made.left_out else ''}"),
    ]
    if good:
        threshold = _threshold(contract)
        facts.append((contract.weak, f"answers {certificate.weak_share:.1%} of requests: {threshold}"))
        facts.append(("margin", f"{certificate.margin:+.4f} of quality above the promise, on these labels"))
    if made.figures:
        before, after = made.figures["apgr_before"], made.figures["apgr_after"]
        taught = made.figures["learned_from"]["labels"]
        facts.append(("learned", f"from {taught:,} other labels: APGR {before} → {after} on these"))
    facts.append(("score", contract.scorer))
    screen().print(table(("", ""), facts))
    note("Nothing was changed (--dry-run)." if dry_run else "In force: a running API follows within seconds.")


def _threshold(contract: Contract) -> str:
    threshold = contract.certificate.threshold
    if isinf(threshold):
        return "every answer" if contract.reads is Reads.ANSWER else "every score"
    return f"grades above {-threshold:.4f}" if contract.reads is Reads.ANSWER else f"scores below {threshold:+.4f}"


def _words(contract: Contract) -> str:
    if contract.state is State.MET:
        return f"met: {contract.weak} may answer on {contract.task_class}"
    if contract.state is State.REVOKED:
        return f"revoked: live labels refuted this very promise before; {contract.reference} answers. Bring new labels."
    return f"{contract.certificate}; {contract.reference} answers on {contract.task_class}"


def _told(made: Certified, contract: Contract, dry_run: bool) -> dict[str, Any]:
    figures = dict(made.figures) or None
    return {**contract.as_dict(), "left_out": made.left_out, "learned": figures, "in_force": not dry_run}


def _row(contract: Mapping[str, Any]) -> tuple[object, ...]:
    watch = contract["watch"]
    evidence = f"{watch['wealth']:.2f} of {watch['revokes_at']:.0f}" if watch else None
    watched = watch["rows"] if watch else None
    promise = f"≥ {1 - contract['epsilon']:.1%} of {contract['reference']}, {1 - contract['delta']:.0%} sure"
    return contract["task_class"], promise, contract["standing"], contract["n"], watched, evidence
