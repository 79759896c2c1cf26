"""`pennyroute route`: one request from the terminal, its answer, and below it what it cost and why."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.cli.screen import AsJson, milliseconds, money, screen, show_json, show_json_line
from orchestrator.cli.server import DataDir, Key, Url, connect
from orchestrator.core.errors import InvalidInput
from orchestrator.core.types import Strategy
from pennyroute import Answer, Pennyroute
from registry.schema import Task, Tier

_STDIN = "-"
_OF_FILES = frozenset({Task.OCR, Task.DOCUMENT, Task.VISION, Task.TRANSCRIBE})
_SHOWN_NUMBERS = 4


def route_command(
    text: Annotated[
        list[str] | None, typer.Argument(help="The prompt or the texts; - reads standard input.", metavar="[TEXT|-]…")
    ] = None,
    *,
    task: Annotated[Task, typer.Option(help="What to do.")] = Task.GENERATE,
    file: Annotated[
        list[Path] | None,
        typer.Option("--file", "-f", help="Image, PDF or audio to read; may be repeated.", exists=True),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Name a model and skip routing.")] = None,
    strategy: Annotated[Strategy | None, typer.Option(help="Which tiers may answer.")] = None,
    tier: Annotated[list[Tier] | None, typer.Option(help="Only these tiers; may be repeated.")] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Show the words as they come.")] = False,
    system: Annotated[str | None, typer.Option(help="A system message before the prompt.")] = None,
    query: Annotated[str | None, typer.Option(help="rerank: what for; document, vision: what to look for.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="classify, vision: a label; may be repeated.")] = None,
    schema: Annotated[
        Path | None, typer.Option(help="File with a JSON schema that the output must keep.", exists=True)
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(min=1, help="Longest answer; bounds the cost too.")] = None,
    temperature: Annotated[float | None, typer.Option(min=0, max=2)] = None,
    quality: Annotated[float | None, typer.Option(min=0, max=1, help="Least quality of an answer.")] = None,
    max_cost_usd: Annotated[str | None, typer.Option(help="Most that this request may cost.", metavar="USD")] = None,
    deadline_ms: Annotated[int | None, typer.Option(min=1, help="Most time that it may take.")] = None,
    store: Annotated[bool, typer.Option("--store", help="embed: keep the texts to find them again.")] = False,
    tag: Annotated[list[str] | None, typer.Option(help="A tag for the log and for budgets; may be repeated.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = None,
) -> None:
    """Ask the running API, and see which model answered, what it cost and why.

    **Examples**

    ```text
    pennyroute route "What is 2+2?"
    pennyroute route --stream "Write a haiku about thrift"
    pennyroute route --task sentiment "What a lovely day!" "This is broken."
    pennyroute route --task embed --store "A penny saved is a penny earned."
    pennyroute route --task ocr --file receipt.png
    pennyroute route --strategy local_only --max-tokens 50 "Hi!"
    cat report.txt | pennyroute route --system "Summarize in one line." -
    ```
    """
    how: dict[str, Any] = {
        **{"task": str(task), "model": model, "strategy": str(strategy) if strategy else None, "query": query},
        **{"max_tokens": max_tokens, "temperature": temperature, "quality": quality, "max_cost_usd": max_cost_usd},
        **{"deadline_ms": deadline_ms, "labels": label, "tiers": tier, "tags": tag, "store": store or None},
        "schema": _read_schema(schema),
    }
    how = {name: value for name, value in how.items() if value is not None and value != []}
    given = _input(task, text or [], file or [], system)
    with connect(url, key, data_dir) as client:
        if stream:
            _show_stream(client, given, how, as_json)
        else:
            answer = client.route(given, **how)
            show_json(_plain(answer)) if as_json else show_answer(answer, screen())


def _input(task: Task, texts: list[str], files: list[Path], system: str | None) -> Any:
    """The `input` of the request. Raises InvalidInput when there is none, or too much of it."""
    texts = [sys.stdin.read() if text == _STDIN else text for text in texts]
    if files:
        if texts or system:
            raise InvalidInput("Give either texts or --file, not both.", field="input")
        return files
    if not texts and task in _OF_FILES:
        raise InvalidInput(f"{task} reads files: name one with --file.", field="input")
    if not texts:
        raise InvalidInput('Nothing was given. Try `pennyroute route "What is 2+2?"`, or - for standard input.')
    if task is not Task.GENERATE:
        return texts
    prompt = {"role": "user", "content": " ".join(texts)}  # a prompt whose quotes were forgotten is one prompt
    return [{"role": "system", "content": system}, prompt] if system else prompt["content"]


def _read_schema(file: Path | None) -> Any:
    if file is None:
        return None
    try:
        return json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise InvalidInput(f"{file} is not JSON: {error}", field="schema") from error


def _show_stream(client: Pennyroute, given: Any, how: dict[str, Any], as_json: bool) -> None:
    for piece in client.stream(given, **how):
        if as_json:
            show_json_line(_plain(piece) if isinstance(piece, Answer) else {"text": piece})
        elif isinstance(piece, Answer):
            sys.stdout.write("\n")
            screen().print(story(piece), soft_wrap=True)
        else:
            sys.stdout.write(piece)
            sys.stdout.flush()


def _plain(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in Answer.__dataclass_fields__ if name != "parsed"}


def show_answer(answer: Answer, console: Console) -> None:
    """The output, then one dim line: model, tier, cost, latency, why."""
    console.print(Text(output_words(answer)), soft_wrap=True, highlight=False)
    console.print(story(answer), soft_wrap=True)


def story(answer: Answer) -> Text:
    why = answer.why
    parts = [answer.model, answer.tier, money(answer.cost_nanousd), milliseconds(answer.latency_ms), why["reason"]]
    failed = [attempt for attempt in why["attempts"] if not attempt["accepted"]]
    told = (f"{one['model']}: {one.get('error') or 'its answer was not good enough'}" for one in failed)
    return Text("\n".join([" · ".join(parts), *(f"  before it, {words}" for words in told)]), style="dim")


def output_words(answer: Answer) -> str:
    """A generated text as it is, vectors by their shape, texts of pages and recordings, everything else as JSON
    lines."""
    output = answer.output
    if isinstance(output, str):
        return output
    if answer.tool_calls:
        return "\n".join(json.dumps(call.get("function", call), ensure_ascii=False) for call in answer.tool_calls)
    if answer.task == Task.EMBED:
        return "\n".join(map(_vector_words, output))
    if answer.task in (Task.OCR, Task.TRANSCRIBE):
        return "\n\n".join(str(found["text"]) for found in output).replace("\f", "\n\n")
    lines = output if isinstance(output, list) else [output]
    return "\n".join(map(_line, lines))


def _line(found: Any) -> str:
    """A picture's vector by its shape too."""
    if isinstance(found, dict) and isinstance(vector := found.get("embedding"), list):
        found = {**found, "embedding": _vector_words(vector)}
    return json.dumps(found, ensure_ascii=False)


def _vector_words(vector: list[float]) -> str:
    begin = ", ".join(f"{number:.4f}" for number in vector[:_SHOWN_NUMBERS])
    return f"[{begin}, …] {len(vector)} dimensions"
