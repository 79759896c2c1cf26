"""The command tree of `pennyroute` and its one way to tell an error; each command lies in its own file."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from orchestrator.cli import (
    classify,
    config,
    contracts,
    database,
    demo,
    doctor,
    explain,
    label,
    learn,
    log,
    models,
    policy,
    registry,
    route,
    simulate,
    stats,
)
from orchestrator.cli.screen import show_error
from orchestrator.cli.up import up_command
from orchestrator.core.errors import PennyrouteError
from pennyroute import PennyrouteError as ToldByServer

_HELP = """Answers every AI call with the cheapest model that is good enough, and shows what it cost and why.

**First five minutes**

```text
pennyroute demo                    routing, cost, savings: recorded, no key
pennyroute up                      start everything on this machine
pennyroute route "What is 2+2?"    ask, in another terminal
pennyroute route --task sentiment "Lovely!"
pennyroute stats                   what was spent on what
pennyroute doctor                  what is missing and how to get it
```
"""


class _Told(TyperGroup):
    """Our own errors are one red line and exit status 1; --debug shows where they came from."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (PennyrouteError, ToldByServer) as error:
            if ctx.params.get("debug"):
                raise
            show_error(error.code, error.message)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Told,
    help=_HELP,
    rich_markup_mode="markdown",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # locals hold keys
)


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None: ...


app.command("up", rich_help_panel="Run")(up_command)
app.command("demo", rich_help_panel="Run")(demo.demo_command)
app.command("doctor", rich_help_panel="Run")(doctor.doctor_command)
app.command("route", rich_help_panel="Ask")(route.route_command)
app.command("classify", rich_help_panel="Ask")(classify.classify_command)
app.command("explain", rich_help_panel="Ask")(explain.explain_command)
app.command("simulate", rich_help_panel="Look")(simulate.simulate_command)
app.command("log", rich_help_panel="Look")(log.log_command)
app.command("stats", rich_help_panel="Look")(stats.stats_command)
app.add_typer(models.app, name="models", rich_help_panel="Look")
app.add_typer(registry.app, name="registry", rich_help_panel="Look")
app.command("label", rich_help_panel="Change")(label.label_command)
app.command("learn", rich_help_panel="Change")(learn.learn_command)
app.add_typer(contracts.app, name="contracts", rich_help_panel="Change")
app.add_typer(policy.app, name="policy", rich_help_panel="Change")
app.add_typer(config.app, name="config", rich_help_panel="Change")
app.add_typer(database.keys, name="keys", rich_help_panel="Change")
app.add_typer(database.db, name="db", rich_help_panel="Change")
app.add_typer(database.ledger, name="ledger", rich_help_panel="Change")
