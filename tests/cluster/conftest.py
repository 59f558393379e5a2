"""What the tests of `batch` share: one Ray, one S3 server, one small archive."""

import logging
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from dicom_files import write_series
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.cluster.actor_pool import Crew, ray_started

Batch = Callable[..., tuple[int, str]]


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """An S3-compatible server on this machine, which PyArrow finds by the environment."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    settings = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings.items():
            patch.setenv(name, value)
        yield settings["AWS_ENDPOINT_URL"]
    server.stop()


@pytest.fixture(scope="session")
def s3(s3_endpoint: str) -> Any:
    return boto3.client("s3", endpoint_url=s3_endpoint, region_name="us-east-1")


@pytest.fixture(scope="session")
def two_workers(s3_endpoint: str) -> Iterator[None]:  # noqa: ARG001  (its environment is passed on)
    """Ray with room for two workers, started once; `batch` uses the Ray that is there."""
    with ray_started(Crew(workers=2)):
        yield


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "small.onnx")


@pytest.fixture(scope="session")
def archive(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, two DICOM series, a ZIP archive, damaged files and one that is ignored."""
    folder = tmp_path_factory.mktemp("archive") / "scans"
    pictures = sorted((phantoms / "images").iterdir())
    for number, picture in enumerate(pictures[:12]):
        place = folder / f"patient{number % 3}" / picture.name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(picture, place)
    write_series(folder / "study" / "t1", seed=1)
    write_series(folder / "study" / "t2", seed=2)
    with zipfile.ZipFile(folder / "study" / "export.zip", "w") as packed:
        packed.write(pictures[20], "a/one.png")
        packed.write(pictures[21], "b.png")
    cut = pictures[22].read_bytes()
    (folder / "damaged.png").write_bytes(cut[: len(cut) // 2])
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(pictures[23].read_bytes())
    (folder / "empty.dcm").touch()
    (folder / "notes.txt").write_text("not read")
    return folder


@pytest.fixture
def batch(model: Path, two_workers: None, capsys: pytest.CaptureFixture[str]) -> Batch:  # noqa: ARG001
    """Runs `tumorscope batch` with the small model, and returns its status and what it said.

    With one worker unless said otherwise: to start one takes seconds.
    """

    def run(*words: "str | Path") -> tuple[int, str]:
        capsys.readouterr()
        workers = [] if "--workers" in words else ["--workers", "1"]
        status = main(["batch", "--model", str(model), *map(str, words), *workers])
        said = capsys.readouterr()
        return status, said.out + said.err

    return run
