"""`--tracker mlflow`: MLflow holds what the run's folder holds, and a resumed run stays one run."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tumorscope.cli import run_crossval
from tumorscope.cli.main import main
from tumorscope.datasets.sources import read_data
from tumorscope.datasets.splits import partition
from tumorscope.errors import MissingExtraError, ModelError
from tumorscope.training import callbacks
from tumorscope.training.fit import fit
from tumorscope.training.module import HistoryRow
from tumorscope.training.recipe import load_recipe
from tumorscope.training.run_folder import Origin, RunFolder
from tumorscope.training.tracking import TrackedRun, Tracker

pytest.importorskip("mlflow")

from mlflow.tracking import MlflowClient

Words = list[str]


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the runs are: MLflow's database, beside them, takes seconds to make."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def words(phantoms: Path, small: Words) -> Words:
    return ["--data", str(phantoms), "--split", "grouped-folds", *small, "--tracker", "mlflow"]


def runs_of(folder: Path) -> tuple[MlflowClient, dict[str, Any]]:
    """Returns a client of the store beside a folder, and the runs of the folder's experiment."""
    client = MlflowClient(f"sqlite:///{folder.parent / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(folder.name)
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return client, {run.info.run_name: run for run in found}


def test_a_stopped_run_goes_on_as_the_same_run(
    words: Words, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = runs / "one"
    write = callbacks.history_table

    def stop(rows: list[Any]) -> str:
        if len(rows) == 2:
            raise KeyboardInterrupt
        return write(rows)

    monkeypatch.setattr(callbacks, "history_table", stop)
    assert main(["train", *words, "--out", str(folder)]) == 130
    _, stopped = runs_of(folder)
    assert [run.info.status for run in stopped.values()] == ["FAILED"]
    monkeypatch.setattr(callbacks, "history_table", write)
    assert main(["train", "--resume", str(folder)]) == 0

    client, found = runs_of(folder)
    assert list(found) == ["one"]
    run, folder_run = found["one"], RunFolder(folder)
    assert run.info.run_id == stopped["one"].info.run_id
    assert run.info.status == "FINISHED"
    assert run.data.params["optimizer/learning_rate"] == "0.005"
    assert run.data.params["data/fingerprint"] == folder_run.data()["fingerprint"]
    curve = client.get_metric_history(run.info.run_id, "validation_loss")
    rows = [row["validation_loss"] for row in folder_run.history()]
    assert [point.value for point in sorted(curve, key=lambda point: point.step)][-1] == (
        pytest.approx(rows[-1], rel=1e-4)
    )
    assert len({point.step for point in curve}) == len(rows) == 3
    assert run.data.metrics["test_accuracy"] == folder_run.metrics()["accuracy"]
    listed = {item.path for item in client.list_artifacts(run.info.run_id)}
    assert {"weights.safetensors", "report.html", "recipe.toml", "curves.png"} <= listed
    # No file's name goes to a server.
    assert not {"data.json", "slices.csv", "predictions.csv"} & listed
    stored = runs / "mlflow" / "artifacts" / run.info.run_id / "artifacts"
    copy = stored / "weights.safetensors"
    assert copy.read_bytes() == folder_run.weights_file.read_bytes()
    assert (folder / "tensorboard").is_dir()


def test_folds_and_trials_are_runs_of_one_experiment(
    words: Words, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [*words, "--set", "training.epochs=1"]
    search = runs / "search"
    assert main(["tune", *few, "--trials", "1", "--out", str(search)]) == 0
    assert main(["tune", "--resume", str(search), "--trials", "2"]) == 0
    _, trials = runs_of(search)
    assert trials.keys() == {"0000", "0001"}
    parameters = [trial.data.params["optimizer/learning_rate"] for trial in trials.values()]
    assert len(set(parameters)) == 2

    folds = runs / "folds"
    monkeypatch.setattr(run_crossval, "folds_of", lambda *_: [1])  # (five take longer)
    assert main(["crossval", *few, "--out", str(folds)]) == 0
    _, found = runs_of(folds)
    assert found.keys() == {"fold-1", "folds"}
    pooled = json.loads((folds / "evaluation.json").read_text())
    assert found["folds"].data.metrics["test_accuracy"] == pooled["accuracy"]
    assert {run.info.status for run in found.values()} == {"FINISHED"}


def test_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = Tracker.of(None, tmp_path / "runs" / "a")
    assert local.uri == f"sqlite:///{tmp_path / 'runs' / 'mlflow' / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://one")
    assert Tracker.of(None, tmp_path / "a") == Tracker("http://one", "a")
    assert Tracker.of("http://two", tmp_path / "a").uri == "http://two"
    with pytest.raises(ModelError, match="MLFLOW_TRACKING_PASSWORD"):
        Tracker.of("http://me:secret@two", tmp_path / "a")


Complain = Callable[..., str]


@pytest.fixture
def complain(
    words: Words, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    def run(*more: str) -> str:
        assert main(["train", *words, "--out", str(tmp_path / "run"), *more]) == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run


def test_without_mlflow_one_line_says_how_to_get_it(
    complain: Complain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    assert "pip install 'tumorscope[mlflow]'" in complain()
    assert list(tmp_path.iterdir()) == []
    run = RunFolder(tmp_path)
    run.tracker_file.write_text("{}")
    with pytest.raises(MissingExtraError):
        TrackedRun.noted(run)


def test_a_server_that_is_not_there_is_one_line(
    complain: Complain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said = complain("--tracker-uri", "http://127.0.0.1:9")
    assert said.startswith("tumorscope: MLflow at http://127.0.0.1:9 does not answer")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """MLflow's own server: its address and its process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "_MLFLOW_SERVER_FILE_STORE": f"sqlite:///{tmp_path / 'server.db'}",
        "_MLFLOW_SERVER_ARTIFACT_ROOT": str(tmp_path / "artifacts"),
    }
    program = f"from mlflow.server import app; app.run(port={port})"
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if b"Running on" in line:
                break
        yield f"http://127.0.0.1:{port}", process
        process.kill()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
def test_a_server_that_dies_or_hangs_costs_one_warning_and_no_training(
    server: tuple[str, subprocess.Popen[bytes]],
    phantoms: Path,
    small: Words,
    tmp_path: Path,
    how: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    uri, process = server
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    class Stop(callbacks.SilentListener):
        def epoch(self, row: HistoryRow) -> None:
            if row["epoch"] == 2:
                process.send_signal(how)
                monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")

    catalogue = read_data([phantoms])
    run = fit(
        partition(catalogue, split="grouped-folds"),
        load_recipe("quick", small[1::2]),
        tmp_path / "run",
        origin=Origin(sources=(), fingerprint="f"),
        tracker=Tracker.of(uri, tmp_path / "run"),
        listener=Stop(),
    )
    assert run is not None
    assert run.weights_file.is_file()
    assert [row["epoch"] for row in run.history()] == [1, 2, 3]
    (line,) = [record.getMessage() for record in caplog.records if "MLflow" in record.getMessage()]
    assert line.startswith(f"MLflow at {uri} does not answer")
    assert line.endswith("going on without it")


def test_how_long_a_server_is_waited_for_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    for name in names:
        monkeypatch.setenv(name, "1")
        monkeypatch.delenv(name)
    Tracker.of("http://127.0.0.1:9", Path("run"))
    timeout, retries = (int(os.environ[name]) for name in names)
    assert timeout * (1 + retries) <= 60


def test_bad_usage_is_one_line(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--data", str(phantoms), "--split", "grouped-folds", "--out", str(tmp_path / "run")]
    assert main(["train", *words, "--tracker-uri", "http://one"]) == 2
    assert "--tracker-uri goes with --tracker mlflow" in capsys.readouterr().err
    assert main(["train", "--resume", str(tmp_path), "--tracker", "mlflow"]) == 2
    assert "leave out --tracker" in capsys.readouterr().err
    run = RunFolder(tmp_path)
    run.tracker_file.write_text("[]")
    with pytest.raises(ModelError, match=r"tracker\.json: damaged"):
        TrackedRun.noted(run)
