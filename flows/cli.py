"""``kp``, the user's command: the flows and the registry, with ``kpmodels``' own commands beside them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli_data import data_app
from flows.cli_flows import flows_app
from kpmodels.cli import app as models_app
from kpmodels.shell import run_app

app = typer.Typer(
    name="kp",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, evaluate and register keypoint detectors: every run a commit, every version a tag, every byte in DVC.",
)
app.add_typer(data_app, name="data")
app.registered_commands.extend(flows_app.registered_commands)
app.registered_commands.extend(models_app.registered_commands)

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of a registered model.")]


@app.command(epilog="Example: kp demo")
def demo() -> None:
    """One full cycle on the bundled data: data version, training, evaluation, registered champion."""
    from flows.cli_flows import print_result
    from flows.demo import run_demo

    print_result(run_demo(_repository()))


@app.command(epilog="Example: kp up --port 4201")
def up(
    port: Annotated[int, typer.Option(help="Port of the Prefect server and UI.", min=1, max=65535)] = 4200,
    host: Annotated[
        str, typer.Option(help="Address to listen on; others than this machine get in by 0.0.0.0.")
    ] = "127.0.0.1",
) -> None:
    """Prefect server, UI and the deployments on this machine, until Ctrl-C."""
    from flows.server import up as run_up

    run_up(_repository(), host, port)


@app.command(epilog="Example: kp models --history openfield-heatmap")
def models(
    history: Annotated[str, typer.Option(help="Show every promotion of this model, oldest first.")] = "",
) -> None:
    """List the registered models with their versions and champions."""
    from flows.tables import print_history, print_models

    if history:
        print_history(_repository(), history)
    else:
        print_models(_repository())


@app.command(epilog="Example: kp promote openfield-heatmap@v3")
def promote(
    model: Annotated[str, typer.Argument(metavar="MODEL@vN", help="The version to make champion.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the tag's message.")] = "by hand",
) -> None:
    """Make a registered version the champion."""
    from flows import registry
    from kpmodels.errors import UserError

    name, at, version = model.partition("@")
    if not at:
        raise UserError(f"{model}: which version?", f"for example: kp promote {name}@v1 (kp models lists them)")
    repository = _repository()
    registry.promote(repository, name, version, reason)
    print(f"{name}@{version} is champion")
    registry.push_tags(repository, [name])


@app.command(epilog="Example: kp rollback openfield-heatmap")
def rollback(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why; kept in the tag's message.")] = "rolled back by hand",
) -> None:
    """Go back to the champion before."""
    from flows import registry

    repository = _repository()
    back = registry.rollback(repository, model, reason)
    print(f"{model}@{back.version} is champion again")
    registry.push_tags(repository, [model])


@app.command(epilog="Example: kp gc --older 30 --yes")
def gc(
    older: Annotated[int, typer.Option(help="Days since the run.", min=0)] = 30,
    yes: Annotated[bool, typer.Option(help="Delete; else only tell what would go.")] = False,
) -> None:
    """Delete old runs that no version stands on, and checkpoints of old trainings. The only command that deletes."""
    from flows.collect import collect

    for line in collect(_repository(), older, delete=yes):
        print(line)


def _repository() -> Path:
    from flows.repository import find_repository

    return find_repository(Path.cwd())


def main() -> None:
    """Entry point of ``kp``. A SIGTERM ends it as an exception does, so that what it started is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run_app(app)
