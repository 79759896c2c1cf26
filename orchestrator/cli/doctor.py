"""`pennyroute doctor`: what is there, what is missing, and the command that mends it; mends nothing itself."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.text import Text

from orchestrator.cli.checks import Check, look
from orchestrator.cli.screen import AsJson, note, screen, show_json, yes_no
from orchestrator.cli.server import DataDir, Key, Url
from orchestrator.settings import load


def doctor_command(*, as_json: AsJson = False, url: Url = None, key: Key = None, data_dir: DataDir = None) -> None:
    """Look at everything Pennyroute needs and say how to get what is missing. Exits 1 when something needed is.

    ✓ is there · ✗ red: needed · ✗ yellow: more would work with it

    **Examples**

    ```text
    pennyroute doctor
    pennyroute doctor --json
    ```
    """
    checks = look(load(), url, key, data_dir)
    if as_json:
        done = list(checks)
        show_json([{name: getattr(check, name) for name in Check.__dataclass_fields__} for check in done])
    else:
        done = [_show(screen(), check) for check in checks]
        lacking = [check for check in done if not check.ok]
        needed = sum(check.needed for check in lacking)
        there, optional = len(done) - len(lacking), len(lacking) - needed
        note(f"{there} there, {needed} needed and missing, {optional} optional and missing")
    if any(check.needed and not check.ok for check in done):
        raise typer.Exit(1)


def _show(console: Console, check: Check) -> Check:
    """Shown as it is found: a server that hangs does not hide what came before."""
    line = Text.assemble(yes_no(check.ok, needed=check.needed), f" {check.name:<24} ", check.detail)
    if not check.ok and check.mend:
        line.append(f"  → {check.mend}", style="bold" if check.needed else "dim")
    console.print(line, soft_wrap=True, highlight=False)
    return check
