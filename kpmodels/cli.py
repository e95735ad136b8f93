"""The commands that need no flow. Heavy libraries are imported inside the commands only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kpmodels.cli_data import data_app

app = typer.Typer(
    name="kpmodels",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Train, measure and use keypoint detectors on this machine.",
)
app.add_typer(data_app, name="data")

Params = Annotated[Path, typer.Option("--params", help="The experiment, a YAML file.")]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="name, name@vN, name#champion, or a model folder.")]


@app.command(epilog="Example: python -m kpmodels train --data datasets/shapes --out models/shapes-heatmap")
def train(
    data: Annotated[Path, typer.Option(help="Folder of the data set.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of the model to write.")],
    params: Params = Path("params.yaml"),
    storage: Annotated[
        Path, typer.Option(envvar="KP_RUN_STORAGE", help="Where checkpoints of running trainings are kept.")
    ] = Path(".runs/train"),
    force: Annotated[
        bool, typer.Option(envvar="KP_FORCE", help="Train anew although the same run is finished.")
    ] = False,
    address: Annotated[str, typer.Option(envvar="KP_RAY_ADDRESS", help="Ray cluster; empty: this machine.")] = "",
    jobs: Annotated[
        str, typer.Option(envvar="KP_RAY_JOBS", help="Train as a job of the Ray cluster whose dashboard is here.")
    ] = "",
    shared: Annotated[
        Path | None,
        typer.Option(envvar="KP_STORAGE", help="Folder that every node sees under the same path; for --jobs."),
    ] = None,
    runs: Annotated[
        str, typer.Option(envvar="KP_STORAGE_RUNS", help="Folder in --shared that keeps checkpoints and models.")
    ] = "runs",
) -> None:
    """Train one experiment: the train stage of dvc.yaml. Killed and started again, it goes on.

    Refused when there are no images to evaluate on afterwards.
    """
    from kpmodels.config import read_experiment
    from kpmodels.data.needed import measured_ids
    from kpmodels.data.store import open_dataset

    experiment = read_experiment(params)
    data, out, storage = data.resolve(), out.resolve(), storage.resolve()
    measured_ids(open_dataset(data), experiment.evaluate.split)
    if jobs:
        from kpmodels.jobs.submit import train_by_job

        summary = train_by_job(experiment, data, out, storage, jobs=jobs, shared=shared, runs=runs, force=force)
    else:
        from kpmodels.training.launch import train as run_training

        summary = run_training(experiment, data, out, storage, address=address or None, force=force)
    print(f"trained {experiment.name}: " + ", ".join(f"{key} {value}" for key, value in summary.items()))


@app.command(epilog="Example: python -m kpmodels evaluate models/shapes-heatmap --data datasets/shapes --out results")
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of the model.", exists=True, file_okay=False)],
    data: Annotated[Path, typer.Option(help="Folder of the data set.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of the results to write.")],
    params: Params = Path("params.yaml"),
    metrics: Annotated[Path | None, typer.Option(help="Also write the metrics here, as JSON.")] = None,
) -> None:
    """Measure a model on a data set: the evaluate stage of dvc.yaml."""
    import json

    from kpmodels.config import read_experiment
    from kpmodels.evaluation.run import evaluate as run_evaluation
    from kpmodels.tables import print_metrics

    values = run_evaluation(model, data, read_experiment(params).evaluate, out)
    if metrics is not None:
        metrics.parent.mkdir(parents=True, exist_ok=True)
        metrics.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n")
    print_metrics({str(model): values})


@app.command(
    epilog="Example: python -m kpmodels report results/new --champion results/old --model models/m --data datasets/d"
)
def report(
    results: Annotated[Path, typer.Argument(help="Folder that evaluate wrote.", exists=True, file_okay=False)],
    model: Annotated[Path, typer.Option(help="Folder of the model.", exists=True, file_okay=False)],
    data: Annotated[Path, typer.Option(help="Folder of the data set.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")],
    champion: Annotated[Path | None, typer.Option(help="Results of the champion on the same data.")] = None,
    title: Annotated[str, typer.Option(help="Heading of the page.")] = "",
    champion_title: Annotated[str, typer.Option(help="What the champion is called on the page.")] = "champion",
    verdict: Annotated[Path | None, typer.Option(help="Also write the comparison here, as JSON.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Also write the best and worst predictions here.")] = None,
) -> None:
    """One HTML page about a model, beside the champion if there is one."""
    from kpmodels.evaluation.report import write_comparison

    write_comparison(
        new=results,
        champion=champion,
        model=model,
        data=data,
        out=out,
        title=title,
        champion_title=champion_title,
        verdict=verdict,
    )
    if pictures is not None:
        from kpmodels.evaluation.report.files import write_pictures

        write_pictures(results, model, data, pictures)
    print(f"report: {out.resolve()}")


@app.command(
    hidden=True, epilog="Example: python -m kpmodels gate results/new --champion results/old --out verdict.json"
)
def gate(
    results: Annotated[Path, typer.Argument(help="Folder that evaluate wrote.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="The verdict with its figures, as JSON.")],
    params: Params = Path("params.yaml"),
    champion: Annotated[Path | None, typer.Option(help="Results of the champion on the same data.")] = None,
) -> None:
    """Whether a new version is clearly better than the champion, and nowhere clearly worse."""
    import json

    from kpmodels.config import read_experiment
    from kpmodels.evaluation.gate import judge

    verdict = judge(results, champion, read_experiment(params).gate)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(verdict.to_dict(), indent=1) + "\n")
    print(f"gate ({verdict.policy}): {'promote' if verdict.promote else 'keep'}; {verdict.reason}")


@app.command(hidden=True, epilog="Example: python -m kpmodels side-by-side spec.json --out compare.html")
def side_by_side(
    spec: Annotated[Path, typer.Argument(help="Title, data and entries, as JSON.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")],
    summary: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """One page that puts measured models side by side: what the compare flow shows."""
    import json

    from kpmodels.evaluation.report.side_by_side import write_side_by_side

    write_side_by_side(json.loads(spec.read_text()), out, summary)
    print(f"report: {out.resolve()}")


@app.command(
    hidden=True, epilog="Example: python -m kpmodels trade-off spec.json --data datasets/cells --out page.html"
)
def trade_off(
    spec: Annotated[Path, typer.Argument(help="Title, data, costs and entries, as JSON.", exists=True, dir_okay=False)],
    data: Annotated[Path, typer.Option(help="Folder of the data set.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")],
    summary: Annotated[Path | None, typer.Option(help="Also write the figures here, as JSON.")] = None,
) -> None:
    """One page about false alarms and misses: what the operating-points flow shows."""
    import json

    from kpmodels.evaluation.report.operating_points import write_operating_points

    write_operating_points(json.loads(spec.read_text()), data, out, summary)
    print(f"report: {out.resolve()}")


@app.command(hidden=True, epilog="Example: python -m kpmodels night spec.json --out nightly.html")
def night(
    spec: Annotated[Path, typer.Argument(help="Title, summary and outcomes, as JSON.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")],
) -> None:
    """One page about a night: what the nightly flow shows."""
    import json

    from kpmodels.evaluation.report.night import write_night

    write_night(json.loads(spec.read_text()), out)


@app.command(epilog="Example: kp predict openfield-heatmap#champion frame.png --out predictions")
def predict(
    model: Model,
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for the drawings and predictions.json.")] = Path("predictions"),
    boxes: Annotated[Path | None, typer.Option(help="COCO JSON whose boxes the detector looks into.")] = None,
    threshold: Annotated[float, typer.Option(help="Draw and write what scores at least this.", min=0, max=1)] = 0.0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1; empty: a GPU if there is one.")] = "",
) -> None:
    """Draw what a model finds in images, and write it as COCO-style JSON."""
    from kpmodels.predictions import predict_files

    written = predict_files(model, images, out, boxes=boxes, threshold=threshold, device=device or None)
    print(f"{written.images} images, {written.instances} instances: {written.json}")


@app.command(epilog="Example: kp export openfield-heatmap@v3 --out openfield.onnx")
def export(
    model: Model,
    out: Annotated[Path, typer.Option(help="The ONNX file to write.")] = Path("model.onnx"),
) -> None:
    """Write ONNX, and check that onnxruntime gives the same output."""
    from kpmodels.export import export as run_export

    done = run_export(model, out)
    if done.why_not_onnx:
        print(f"not ONNX, which lacks a part of this model ({done.why_not_onnx}): a program of torch.export instead")
    print(f"{done.path}: largest difference to PyTorch {done.max_difference:.2g}")


@app.command(epilog="Example: kp options --detector locator")
def options(
    detector: Annotated[str, typer.Option(help="Show the options of this detector.")] = "heatmap",
) -> None:
    """Every option of params.yaml: its default, its range, and what it does."""
    from kpmodels.options_page import print_options

    print_options(detector)
