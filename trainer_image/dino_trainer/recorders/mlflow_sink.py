"""A training as a run of an MLflow server.

On where MLFLOW_TRACKING_URI is set; MLFLOW_EXPERIMENT_NAME chooses the experiment, and MLflow's own
variables the credentials. A thread of its own talks to the server: training never waits for it.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from dino_api.experiment import ExperimentSpec
from dino_api.names import Env
from dino_api.result import Metrics, Progress
from dino_trainer.report.meter import NO_PARTS, LossParts
from dino_trainer.run import RunContext

if TYPE_CHECKING:
    from mlflow import MlflowClient

TRACKING_URI = "MLFLOW_TRACKING_URI"
KEY = "mlflow"
_EXPERIMENT = "dino"
_SECONDS = 5.0
_LAST_SECONDS = 15.0
# What one request takes, and what is kept while the server is away.
_BATCH, _KEPT, _PARAMS, _LONGEST = 1000, 20_000, 100, 500
# A server that is away must not hold up the end for long; and nobody else is told anything.
_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
MetricPoint = tuple[str, float, int, int]  # name, value, milliseconds, step


class MlflowSink:
    """Parameters once, metrics every few seconds, the outcome at the end.

    loggers: holds the id of the run to go on with, or gets that of a new one. step: where the
    training goes on.
    """

    def __init__(
        self, spec: ExperimentSpec, context: RunContext, loggers: dict[str, str], step: int
    ) -> None:
        self._spec, self._context, self._loggers, self._step = spec, context, loggers, step
        self._points: list[MetricPoint] = []
        self._changed = threading.Condition()
        self._outcome: str | None = None
        self._client: MlflowClient | None = None
        self._described = KEY in loggers
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)
        self._thread.start()

    def progress(self, progress: Progress, parts: LossParts = NO_PARTS) -> None:
        """Values of one step."""
        self._step = progress.step or self._step
        own: dict[str, float | None] = {
            "loss": progress.loss,
            "learning_rate": progress.learning_rate,
            "images_per_second": progress.images_per_second,
            "epoch": progress.epoch,
        }
        self._note({**own, **parts.named})

    def validated(self, epoch: int, metrics: Metrics, best: bool) -> None:
        """All statistics of one validation."""
        values = metrics.model_dump(by_alias=False)
        self._note({f"val_{name}": value for name, value in values.items()})

    def close(self, outcome: str) -> None:
        """Sends what is left and how it ended, in a few seconds or not at all."""
        with self._changed:
            self._outcome = outcome
            self._changed.notify()
        self._thread.join(_LAST_SECONDS)

    def _note(self, values: dict[str, float | None]) -> None:
        now = time.time_ns() // 1_000_000
        points = [(n, float(v), now, self._step) for n, v in values.items() if v is not None]
        with self._changed:
            self._points = (self._points + points)[-_KEPT:]

    def _run(self) -> None:
        outcome = None
        while outcome is None:
            with self._changed:
                self._changed.wait_for(lambda: self._outcome is not None, _SECONDS)
                outcome, points, self._points = self._outcome, self._points, []
            try:
                self._send(points, outcome)
            except Exception as error:  # noqa: BLE001  # whatever it is, training is worth more
                self._complain(error)
                with self._changed:
                    self._points = (points + self._points)[-_KEPT:]

    def _send(self, points: list[MetricPoint], outcome: str | None) -> None:
        client = self._client = self._client or self._connect()
        run = self._loggers[KEY]
        from mlflow.entities import Metric, Param

        if not self._described:
            values = [Param(name, value) for name, value in parameters(self._spec)]
            for first in range(0, len(values), _PARAMS):
                client.log_batch(run, params=values[first : first + _PARAMS])
            self._described = True
        metrics = [Metric(name, value, at, step) for name, value, at, step in points]
        for first in range(0, len(metrics), _BATCH):
            client.log_batch(run, metrics=metrics[first : first + _BATCH])
        if outcome is not None:
            client.set_terminated(run, outcome)

    def _connect(self) -> MlflowClient:
        """A client; after it the run of `loggers` is open, a new one if there was none."""
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        # Two seconds and more to import.
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        client = MlflowClient(os.environ[TRACKING_URI])
        if KEY in self._loggers:
            try:
                client.update_run(self._loggers[KEY], status="RUNNING")
                return client
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
        run = client.create_run(self._experiment(client), tags=self._tags(), run_name=self._name())
        self._loggers[KEY], self._described = run.info.run_id, False
        self._context.reporter.say(f"MLflow run {run.info.run_id}.")
        return client

    def _experiment(self, client: MlflowClient) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or _EXPERIMENT
        known = client.get_experiment_by_name(name)
        own: str = known.experiment_id if known else client.create_experiment(name)
        return own

    def _name(self) -> str:
        return os.environ.get(Env.JOB_NAME) or self._context.run_id

    def _tags(self) -> dict[str, str]:
        tags = {"spec_digest": self._context.digest, "output": self._context.output.uri("")}
        namespace = os.environ.get(Env.JOB_NAMESPACE)
        return tags | ({"namespace": namespace} if namespace else {})

    def _complain(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            self._context.reporter.say(f"MLflow is not told how it goes ({reason}); going on.")


def parameters(spec: ExperimentSpec) -> list[tuple[str, str]]:
    """The spec as MLflow's parameters: dotted names, values as text."""
    sections = spec.model_dump(include={"model", "dataset", "train"})
    return [(name, text[:_LONGEST]) for name, text in _leaves(sections, "")]


def _leaves(mapping: Mapping[str, object], prefix: str) -> list[tuple[str, str]]:
    leaves: list[tuple[str, str]] = []
    for name, value in mapping.items():
        if isinstance(value, dict):
            leaves += _leaves(value, f"{prefix}{name}.")
        else:
            leaves.append((prefix + name, value if isinstance(value, str) else json.dumps(value)))
    return leaves
