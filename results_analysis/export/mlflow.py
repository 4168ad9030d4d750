"""Export to MLflow: one experiment a search, one run a trial, with searched values and learning curves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from results_analysis.runs.columns import NULL
from results_analysis.runs.errors import RunError
from results_analysis.runs.run import Run
from trainables.core.vocabulary import TrialStatus, metrics_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric as Point

_STATES = {
    TrialStatus.RUNNING: "RUNNING",
    TrialStatus.FINISHED: "FINISHED",
    TrialStatus.FAILED: "FAILED",
    # MLflow has no status for runs that were ended on purpose.
    TrialStatus.PRUNED: "KILLED",
    TrialStatus.INFEASIBLE: "FINISHED",
}
_TRIAL = "thaw.trial"
_LONGEST = 5000
"""Longest text of a value or tag, in characters, that every store of MLflow takes."""
_BATCH = 1000
"""Largest number of points in one request to MLflow."""


def to_mlflow(run: Run, uri: str) -> str:
    """Writes the trials of a search as runs of an experiment of the same name; exported trials that had ended are skipped.

    Args:
        run: the search.
        uri: address of MLflow's tracking store: `sqlite:///mlflow.db`, or a server's `http://…`.
    Returns:
        The experiment's name.
    Raises:
        RunError: if the extra `mlflow` is missing, or the store cannot be used.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError:
        raise RunError("MLflow is not installed: pip install 'thaw-search[mlflow]'") from None
    try:
        client = MlflowClient(tracking_uri=uri)
        found = client.get_experiment_by_name(run.name)
        experiment = found.experiment_id if found else client.create_experiment(run.name)
        exported = _exported_trials(client, experiment)
        for number in run.numbers:
            if (old := exported.get(number)) is not None:
                if old.info.status != "RUNNING":
                    continue
                client.delete_run(old.info.run_id)  # it was still running at the last export
            _write(client, experiment, run, number)
    except MlflowException as error:
        raise RunError(f"MLflow at {uri}: {str(error).splitlines()[0]}") from None
    return run.name


def _exported_trials(client: MlflowClient, experiment: str) -> dict[int, Any]:
    found: dict[int, Any] = {}
    token = None
    while True:
        page = client.search_runs([experiment], max_results=_BATCH, page_token=token)
        found |= {int(one.data.tags[_TRIAL]): one for one in page if _TRIAL in one.data.tags}
        if not (token := page.token):
            return found


def _write(client: MlflowClient, experiment: str, run: Run, number: int) -> None:
    from mlflow.entities import Metric as Point
    from mlflow.entities import Param, RunTag

    record = run.trial(number)
    tags = {_TRIAL: str(number), "thaw.status": record.status.value, "mlflow.runName": f"trial {number}"}
    if record.reason:
        tags["thaw.reason"] = record.reason[:_LONGEST]
    made = client.create_run(experiment, start_time=_milliseconds(record.started)).info.run_id
    params = [
        Param(_name_of(path), NULL if value is None else str(value)[:_LONGEST]) for path, value in record.params.items()
    ]
    client.log_batch(made, params=params, tags=[RunTag(key, value) for key, value in tags.items()])
    points = _points(run, number)
    while batch := list(islice(points, _BATCH)):
        client.log_batch(made, metrics=batch)
    at = _milliseconds(record.ended or record.started)
    reached = [Point(f"objective.{name}", value, at, 0) for name, value in record.objectives.items()]
    client.log_batch(made, metrics=reached)
    if record.status is not TrialStatus.RUNNING:
        ended = _milliseconds(record.ended) if record.ended else None
        client.set_terminated(made, _STATES[record.status], ended)


def _name_of(path: str) -> str:
    """Name of a searched value in MLflow, which allows no brackets: `train.stages.all.head_lr` for `train.stages[*].head_lr`."""
    return path.replace("[*]", ".all").replace("[", ".").replace("]", "")


def _points(run: Run, number: int) -> Iterator[Point]:
    from mlflow.entities import Metric as Point

    names = ["train_loss", "score", "best_score", "head_lr", "backbone_lr", *metrics_of(run.task)]
    for report in run.reports(number):
        at = _milliseconds(report["time"])
        for name in names:
            if (value := report.get(name)) is not None:
                yield Point(str(name), float(value), at, report["epoch"])


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000)
