"""The commands that train: each runs a flow here, in this process, as the Prefect UI would."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.retrain import RetrainResult
    from kpmodels.config import Experiment

flows_app = typer.Typer()

Assignments = Annotated[list[str], typer.Option("--set", help="key=value on top; see kp options.")]
Data = Annotated[str, typer.Option(help="Data set, NAME or NAME@vN.")]
Parallel = Annotated[int, typer.Option(help="How many train at a time.", min=1, max=64)]
Snapshot = Annotated[
    bool, typer.Option(help="Take uncommitted changes into the run's commit; else refuse to run with them.")
]
DryRun = Annotated[bool, typer.Option(help="Print what would be trained and stop.")]


@flows_app.command(
    epilog="Examples: kp retrain --data openfield --detector heatmap --set train.epochs=50 | "
    "kp retrain --experiment cells-locator --workers 2"
)
def retrain(
    experiment: Annotated[str, typer.Option(help="A named experiment of flows/experiments.")] = "",
    data: Data = "",
    detector: Annotated[str, typer.Option(help="Detector kind; its options have their defaults.")] = "",
    assignments: Assignments = [],  # noqa: B006
    workers: Annotated[int | None, typer.Option(help="Ray Train workers; 0 trains without Ray.", min=0)] = None,
    force: Annotated[bool, typer.Option(help="Train anew although nothing changed.")] = False,
    snapshot: Snapshot = True,
    dry_run: Annotated[bool, typer.Option(help="Print the resolved experiment and stop.")] = False,
) -> None:
    """Train, evaluate and register a detector; it becomes champion if the gate says so."""
    from flows.named_experiments import choose_experiment

    changes = [*assignments, *([] if workers is None else [f"train.workers={workers}"])]
    chosen = choose_experiment(_repository(), name=experiment, data=data, detector=detector, assignments=tuple(changes))
    if dry_run:
        import yaml

        print(yaml.safe_dump(chosen.model_dump(mode="json"), sort_keys=False), end="")
        return
    _prepare()
    from flows.retrain import retrain as retrain_flow

    print_result(retrain_flow(chosen, force=force, snapshot=snapshot))


@flows_app.command(
    epilog="Examples: kp compare blood-cornernet blood-centernet-triplets --set train.epochs=10 | "
    "kp compare openfield-heatmap 'openfield-heatmap losses.contrastive.weight=0.1'"
)
def compare(
    entries: Annotated[
        list[str],
        typer.Argument(metavar="EXPERIMENT...", help="Named experiments, each with key=value after it if wanted."),
    ],
    data: Data = "",
    assignments: Assignments = [],  # noqa: B006
    parallel: Parallel = 1,
    snapshot: Snapshot = True,
    dry_run: DryRun = False,
) -> None:
    """Several detectors or settings on one data version, side by side in one report."""
    from flows.named_experiments import choose_entries

    chosen = choose_entries(_repository(), entries, data, assignments)
    if dry_run:
        _print_experiments(chosen)
        return
    _prepare()
    from flows.compare import compare as compare_flow
    from kpmodels.tables import print_metrics

    done = compare_flow(entries, data=data, changes=assignments, parallel=parallel, snapshot=snapshot)
    print_metrics({row["title"]: row["metrics"] for row in done.summary["entries"]})
    print(f"data      {done.data}")
    print(f"report    {done.report}")


@flows_app.command(
    "operating-points",
    epilog="Example: kp operating-points infrared-locator --weights 4,1 --weights 1,4 --set train.epochs=20",
)
def operating_points(
    experiment: Annotated[str, typer.Argument(help="A named experiment with the Hausdorff loss on.")],
    weights: Annotated[list[str], typer.Option(help="False-alarm weight and miss weight, as 4,1; several times.")] = [],  # noqa: B006
    data: Data = "",
    assignments: Assignments = [],  # noqa: B006
    register: Annotated[bool, typer.Option(help="Register the cheapest of each policy as EXPERIMENT-POLICY.")] = True,
    parallel: Parallel = 1,
    snapshot: Snapshot = True,
    dry_run: DryRun = False,
) -> None:
    """Choose between false alarms and misses before training: one detector over weights of the Hausdorff loss."""
    from flows.hausdorff_weights import GRID, read_weights, with_weights
    from flows.named_experiments import choose_experiment

    pairs = [read_weights(text) for text in weights] or GRID
    base = choose_experiment(_repository(), name=experiment, data=data, assignments=tuple(assignments))
    variants = [(pair.title, with_weights(base, pair)) for pair in pairs]
    if dry_run:
        _print_experiments(variants)
        return
    _prepare()
    from flows.operating_points import in_words
    from flows.operating_points import operating_points as points_flow

    done = points_flow(experiment, pairs, data, assignments, register, parallel, snapshot)
    print(in_words(done.summary, done.registered).replace("**", ""))
    print(f"data      {done.data}")
    print(f"report    {done.report}")


@flows_app.command(epilog="Example: kp reproduce openfield-heatmap@v3")
def reproduce(
    model: Annotated[str, typer.Argument(metavar="MODEL@vN", help="The version to rebuild; without @vN the newest.")],
    keep: Annotated[bool, typer.Option(help="Leave the worktree of the rebuild in .runs, to look at.")] = False,
) -> None:
    """Rebuild a version from its commit and its data, and prove it equal; status 1 with the differences if it is not."""
    _prepare()
    from flows.reproduce import in_words
    from flows.reproduce import reproduce as reproduce_flow

    name, _, version = model.partition("@")
    done = reproduce_flow(name, version, keep)
    print(in_words(done))
    if not done.equal:
        raise typer.Exit(1)


@flows_app.command(epilog="Examples: kp nightly | kp nightly --dry-run | KP_NOTIFY=json://host/hook kp nightly")
def nightly(
    dry_run: Annotated[bool, typer.Option(help="Print what flows/nightly.yaml says and stop.")] = False,
    snapshot: Snapshot = True,
) -> None:
    """What flows/nightly.yaml says: look for new data, retrain what changed, gate, and one report.

    A failure is told to the addresses in the environment variable KP_NOTIFY (apprise URLs, separated by spaces).
    """
    from flows.nightly_settings import read_settings

    settings = read_settings(_repository())
    if dry_run:
        import yaml

        print(yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), end="")
        return
    _prepare()
    from prefect.exceptions import CancelledRun, FailedRun

    from flows.nightly import nightly as nightly_flow
    from kpmodels.errors import UserError

    run: Any = nightly_flow
    try:
        done = run(settings.sources, settings.experiments, settings.parallel, settings.late_hours, snapshot)
    except (CancelledRun, FailedRun) as error:
        raise UserError(str(error)) from None
    print(done.summary)
    print(f"report    {done.report}")


def print_result(result: RetrainResult) -> None:
    """The end of a run on the terminal: metrics, name@version, champion or not, report."""
    from kpmodels.tables import print_metrics

    print_metrics({f"{result.model}@{result.version}": result.metrics})
    if result.unchanged:
        print("nothing changed since that version: every stage was reused")
    print(f"data      {result.data}")
    print(f"model     {result.model}@{result.version}")
    print(f"champion  {'yes' if result.champion else 'no'} ({result.reason})")
    print(f"report    {result.report}")


def _print_experiments(chosen: list[tuple[str, Experiment]]) -> None:
    import yaml

    documents = [{"title": title} | experiment.model_dump(mode="json") for title, experiment in chosen]
    print(yaml.safe_dump_all(documents, sort_keys=False), end="")


def _repository() -> Path:
    from flows.repository import find_repository

    return find_repository(Path.cwd())


def _prepare() -> None:
    """Before Prefect is imported."""
    from flows.environment import prepare_environment

    prepare_environment(_repository())
