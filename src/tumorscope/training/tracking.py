"""Tells MLflow about runs: parameters, curves, metrics, report and weights."""

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from lightning.pytorch.loggers import MLFlowLogger

from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.files import write_text
from tumorscope.training.run_folder import RunFolder

_LOG: Final = logging.getLogger(__name__)

_URI: Final = "MLFLOW_TRACKING_URI"

_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""What is set unless it is set already: MLflow reports its use to its makers, and waits minutes for
a server that has died, a quarter of an hour for one that hangs."""

_FILES: Final = (
    "recipe.toml",
    "environment.json",
    "log.csv",
    "curves.png",
    "weights.safetensors",
    "evaluation.json",
    "report.html",
)
"""What of a run's folder is an artifact; the others name the data's files."""


@dataclass(frozen=True)
class Tracker:
    """An MLflow server or database, and the experiment whose runs it is told about.

    Attributes:
        uri: MLflow's tracking URI.
        experiment: The experiment's name.
        artifacts: Where the files of a new experiment go, as a URI; None: MLflow decides.
    """

    uri: str
    experiment: str
    artifacts: str | None = None

    @classmethod
    def of(cls, uri: str | None, folder: Path) -> Self:
        """Return the tracker for a new run, cross-validation or search.

        Args:
            uri: A tracking URI; None: that of the environment, else a database beside the folder.
            folder: Where the run goes; the experiment is called after it.

        Raises:
            MissingExtraError: MLflow is not installed.
            ModelError: The URI holds a password, which would be written down.
        """
        _check_installed()
        uri = uri or os.environ.get(_URI)
        place = folder.resolve()
        if uri is None:
            store = place.parent / "mlflow"
            return cls(
                f"sqlite:///{store / 'mlflow.db'}", place.name, (store / "artifacts").as_uri()
            )
        if urlsplit(uri).password:
            raise ModelError(
                "the tracking URI holds a password, which would be written down: set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            )
        return cls(uri, place.name)

    def to_json(self) -> dict[str, str | None]:
        """Return all of it by name."""
        return asdict(self)

    def begin(self, run: RunFolder, parameters: Mapping[str, Any]) -> "TrackedRun":
        """Begin a run, and note in its folder which it is.

        Args:
            run: The run's folder.
            parameters: How it is trained.

        Raises:
            ModelError: MLflow cannot be told.
        """
        from mlflow.tracking import MlflowClient  # noqa: PLC0415  (an extra of its own)

        if self.artifacts is not None:
            Path(self.uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        with tracker_errors(self.uri):
            client = MlflowClient(self.uri)
            found = client.get_experiment_by_name(self.experiment)
            experiment = (
                found.experiment_id
                if found
                else client.create_experiment(self.experiment, artifact_location=self.artifacts)
            )
            made = client.create_run(experiment, run_name=run.path.resolve().name)
            tracked = TrackedRun(self.uri, self.experiment, self.artifacts, made.info.run_id)
            tracked.logger().log_hyperparams(dict(parameters))
        write_text(run.tracker_file, json.dumps(asdict(tracked), indent=2) + "\n")
        return tracked


@dataclass(frozen=True)
class TrackedRun(Tracker):
    """A run that MLflow knows.

    Attributes:
        run_id: MLflow's name of it.
    """

    run_id: str = ""

    @classmethod
    def noted(cls, run: RunFolder) -> "TrackedRun | None":
        """Return what a run's folder says; None where MLflow is not told about the run.

        Raises:
            MissingExtraError: MLflow is told, and not installed.
            ModelError: The file is damaged.
        """
        if not run.tracker_file.is_file():
            return None
        _check_installed()
        try:
            return cls(**json.loads(run.tracker_file.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise ModelError(f"{run.tracker_file}: damaged ({error})") from None

    @property
    def tracker(self) -> Tracker:
        """Where further runs of the same experiment are told."""
        return Tracker(self.uri, self.experiment, self.artifacts)

    def logger(self) -> MLFlowLogger:
        """Return Lightning's logger for this run."""
        return MLFlowLogger(run_id=self.run_id, tracking_uri=self.uri)

    def go_on(self) -> None:
        """Say that the run is under way again."""
        with tracker_errors(self.uri):
            self.logger().experiment.update_run(self.run_id, status="RUNNING")

    def add_files(self, run: RunFolder) -> None:
        """Add the files that the run's folder holds by now."""
        client = self.logger().experiment
        for name in _FILES:
            if (run.path / name).is_file():
                client.log_artifact(self.run_id, str(run.path / name))

    def add_evaluation(self, run: RunFolder, metrics: Mapping[str, Any]) -> None:
        """Add the metrics of the test part, as `test_…`, and the report."""
        figures = {
            f"test_{name}": float(value)
            for name, value in metrics.items()
            if isinstance(value, int | float)
        }
        with untold(self.uri):
            self.logger().log_metrics(figures)
            self.add_files(run)

    def end(self, status: str) -> None:
        """Say how the run ended: `FINISHED`, `FAILED` or `KILLED`."""
        with untold(self.uri):
            self.logger().experiment.set_terminated(self.run_id, status)


class RunLogger(MLFlowLogger):
    """Tells MLflow about a run until it does not answer; then training goes on without it.

    Args:
        tracked: The run.
    """

    def __init__(self, tracked: TrackedRun) -> None:
        super().__init__(run_id=tracked.run_id, tracking_uri=tracked.uri)
        self.tracked = tracked
        self._lost = False

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Tell of an epoch's figures."""
        self._tell(lambda: super(RunLogger, self).log_metrics(metrics, step))

    def finalize(self, status: str = "success") -> None:
        """Tell how training has ended."""
        self._tell(lambda: super(RunLogger, self).finalize(status))

    def add_files(self, run: RunFolder) -> None:
        """Add the files that the run's folder holds by now."""
        self._tell(lambda: self.tracked.add_files(run))

    def _tell(self, how: Callable[[], None]) -> None:
        if self._lost:
            return
        self._lost = True
        with untold(self.tracked.uri):
            how()
            self._lost = False


@contextmanager
def untold(uri: str) -> Iterator[None]:
    """Warn in a line that MLflow could not be told, and go on."""
    try:
        with tracker_errors(uri):
            yield
    except ModelError as error:
        _LOG.warning("%s; going on without it", error)


@contextmanager
def tracker_errors(uri: str) -> Iterator[None]:
    """Say in a line that MLflow could not be told."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415  (an extra of its own)

    try:
        yield
    except MlflowException as error:
        reason = str(error).splitlines()[0]
        raise ModelError(f"MLflow at {uri} does not answer as it should: {reason}") from error


def _check_installed() -> None:
    """Import MLflow, with an environment in which it waits no longer than it should.

    Raises:
        MissingExtraError: It is not installed.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow  # noqa: F401, PLC0415  (an extra of its own)
    except ModuleNotFoundError:
        raise MissingExtraError("mlflow", "mlflow") from None
    logging.getLogger("mlflow").setLevel(logging.WARNING)
