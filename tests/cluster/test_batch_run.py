"""`batch` answers as `predict` does, each file once, whatever stops it in between."""

import contextlib
import csv
import hashlib
import io
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from batch_answers import read_answers
from processes import PATIENCE, free_port, start, wait_for
from small_model import write_model
from tumorscope.cli.main import main
from tumorscope.cluster import actor_pool
from tumorscope.cluster.worker import Fetched, Worker
from tumorscope.inference import Failure, Prediction

Batch = Callable[..., tuple[int, str]]


def predicted(words: Iterable[str]) -> list[dict[str, Any]]:
    """What `predict --csv` says, with cells of the types that Parquet has."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="surrogateescape")
    with contextlib.redirect_stdout(out):
        main(["predict", "--csv", *words])
    out.seek(0)
    rows: list[dict[str, Any]] = list(csv.DictReader(out))
    for row in rows:
        for name, cell in row.items():
            if cell and name in ("slice", "slices"):
                row[name] = int(cell)
            elif cell and "probability" in name:
                row[name] = float(cell)
            else:
                row[name] = cell.encode("utf-8", "backslashreplace").decode()
    return rows


def compared(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Rows in one order, without what each run measures anew and what only `batch` says."""
    left_out = ("milliseconds", "sha256")
    return sorted(
        str({name: cell for name, cell in row.items() if name not in left_out and cell != ""})
        for row in (
            {name: "" if cell is None else cell for name, cell in row.items()} for row in rows
        )
    )


@pytest.fixture
def links(archive: Path, tmp_path: Path) -> Path:
    """A folder of 200 links to one picture."""
    picture = next((archive / "patient0").iterdir())
    folder = tmp_path / "links"
    folder.mkdir()
    for number in range(200):
        (folder / f"{number}.png").symlink_to(picture)
    return folder


def assert_each_once(answers: Path, folder: Path) -> None:
    found = Counter(row["path"] for row in read_answers(answers))
    assert found == Counter({str(path): 1 for path in folder.iterdir()})
    assert not [path for path in answers.rglob(".*") if path.is_file()]


@pytest.mark.parametrize("options", [[], ["--tta", "--min-confidence", "0.3"]])
def test_the_answers_are_those_of_predict(
    batch: Batch, archive: Path, model: Path, tmp_path: Path, options: list[str]
) -> None:
    status, said = batch(archive, "--out", tmp_path / "out", "--block", 7, "--workers", 2, *options)
    assert status == 1
    assert "2 errors" in said
    answers = read_answers(tmp_path / "out")
    assert compared(answers) == compared(predicted([str(archive), "--model", str(model), *options]))
    whole = next(row for row in answers if row["path"].endswith("empty.dcm"))
    assert whole["error"].startswith("a DICOM file without a picture")
    assert whole["sha256"] == hashlib.sha256(b"").hexdigest()
    packed = [row for row in answers if "export.zip/" in row["path"]]
    zipped = hashlib.sha256((archive / "study" / "export.zip").read_bytes()).hexdigest()
    assert [row["sha256"] for row in packed] == [zipped] * 2


def test_a_series_is_that_of_its_folder(
    batch: Batch, archive: Path, model: Path, tmp_path: Path
) -> None:
    status, _ = batch(archive, "--series", "--out", tmp_path / "out", "--block", 5)
    assert status == 1
    words = ["--series", "--model", str(model)]
    folders = [archive, *(path for path in archive.rglob("*") if path.is_dir())]
    expected: list[dict[str, Any]] = []
    for folder in folders:
        files = [str(path) for path in folder.iterdir() if path.is_file() and path.suffix != ".txt"]
        expected += predicted([*files, *words]) if files else []
    answers = read_answers(tmp_path / "out")
    assert compared(answers) == compared(expected)
    assert {row["slices"] for row in answers if row["series"]} == {4}


def test_a_run_that_was_stopped_or_killed_goes_on_with_each_file_once(
    batch: Batch, links: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ["batch", "--model", str(model), "--out", str(out)]
    process = start([*words, str(links), "--block", "1", "--workers", "1"])
    wait_for(out / "group=00000" / "part-00000005.parquet", process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, said
    assert said.splitlines()[-1] == (
        f"tumorscope: stopped; go on with: tumorscope batch --resume --out {out}"
    )
    assert "Traceback" not in said
    before = len(read_answers(out))
    assert 5 <= before < 200
    process = start([*words, "--resume", "--workers", "1"])
    wait_for(out / "group=00000" / f"part-{before + 10:08}.parquet", process)
    process.kill()
    _, said = process.communicate(timeout=PATIENCE)
    assert before + 5 < len(read_answers(out)) < 200, said
    status, said = batch("--resume", "--out", out)
    assert status == 0
    assert "200 files, 200 slices, 0 errors" in said
    assert_each_once(out, links)
    status, said = batch("--resume", links, "--out", out)
    assert (status, "200 of 200 files are done" in said) == (0, True)


def test_a_cluster_that_wants_rays_token_is_joined(
    links: Path, model: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".ray").mkdir(parents=True)
    (home / ".ray" / "auth_token").write_text("0" * 64)
    variables, port = {"HOME": str(home)}, str(free_port())
    head = start(
        ["start", "--head", "--block", "--port", port, "--include-dashboard", "false"],
        command=[sys.executable, "-m", "ray.scripts.scripts"],
        stderr=subprocess.STDOUT,
        variables={**variables, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    try:
        assert head.stdout is not None
        said = list(takewhile(lambda line: "Ray runtime started" not in line, head.stdout))
        assert any("Token authentication is enabled" in line for line in said)
        words = ["batch", str(links), "--out", str(tmp_path / "out"), "--model", str(model)]
        words += ["--ray", f"127.0.0.1:{port}", "--workers", "1"]
        process = start(words, variables=variables)
        _, complaint = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, complaint
    finally:
        head.terminate()
        head.communicate(timeout=PATIENCE)
    assert_each_once(tmp_path / "out", links)


def test_a_cluster_that_is_not_there_is_told_at_once(
    links: Path, model: Path, tmp_path: Path
) -> None:
    address = f"127.0.0.1:{free_port()}"
    words = ["batch", str(links), "--out", str(tmp_path / "out"), "--model", str(model)]
    _, complaint = (process := start([*words, "--ray", address])).communicate(timeout=PATIENCE)
    assert process.returncode == 2
    _, last = complaint.splitlines()
    assert last.startswith(f"tumorscope: the Ray cluster {address} cannot be reached: ")
    assert last.endswith("Connection refused")


class Mortal(Worker):
    """Dies of a file, and of another only the first time."""

    def _answers(
        self, fetched: Iterable[Fetched], hashes: dict[str, str | None]
    ) -> Iterator[Prediction | Failure]:
        def deadly() -> Iterator[Fetched]:
            for item in fetched:
                once = Path(item.name).with_suffix(".once")
                if item.name.endswith("/17.png"):
                    os._exit(1)
                if once.exists():
                    once.unlink()
                    os._exit(1)
                yield item

        yield from super()._answers(deadly(), hashes)


def test_a_worker_that_dies_costs_no_answer_but_that_of_the_file_it_dies_of(
    batch: Batch, links: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray  # noqa: PLC0415  (after the fixtures have set its environment)

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    monkeypatch.setattr(actor_pool, "Worker", Mortal)
    (links / "140.once").touch()
    words = [str(links / "*.png"), "--out", tmp_path / "out", "--block", 50]
    status, said = batch(*words)
    (links / "140.once").unlink(missing_ok=True)
    assert status == 1
    assert "200 files, 199 slices, 1 error" in said
    assert_each_once(tmp_path / "out", links)
    errors = {row["path"]: row["error"] for row in read_answers(tmp_path / "out") if row["error"]}
    assert errors == {str(links / "17.png"): "crashes the program that reads it"}


def test_a_full_disk_stops_it_and_room_lets_it_go_on(
    batch: Batch, links: Path, small_disk: Callable[[int], Path]
) -> None:
    out = small_disk(600 * 1024) / "out"
    status, said = batch(links, "--out", out, "--block", 2)
    assert status == 2
    last = said.splitlines()[-1]
    assert last.startswith(f"tumorscope: No space left on device ({out}/group=00000/part-")
    assert last.endswith("make room or mend it there, then go on with --resume")
    small_disk(8 * 1024 * 1024)
    status, _ = batch("--resume", "--out", out)
    assert status == 0
    assert_each_once(out, links)


def test_an_archive_in_a_store_is_answered_into_a_store(
    batch: Batch, s3: Any, archive: Path, model: Path, tmp_path: Path
) -> None:
    s3.create_bucket(Bucket="archive")
    for path in archive.rglob("*"):
        if path.is_file() and path.name.isascii():
            s3.upload_file(str(path), "archive", f"2026/{path.relative_to(archive)}")
    status, said = batch("s3://archive/2026", "--out", "s3://archive/answers", "--block", 5)
    assert status == 1
    assert "2 errors" in said
    copy = tmp_path / "copy"
    for item in s3.list_objects_v2(Bucket="archive", Prefix="answers/")["Contents"]:
        (copy / item["Key"]).parent.mkdir(parents=True, exist_ok=True)
        s3.download_file("archive", item["Key"], str(copy / item["Key"]))
    expected = predicted([str(archive), "--model", str(model)])
    here = [
        {**row, "path": row["path"].replace(str(archive), "s3://archive/2026")}
        for row in expected
        if "caf" not in row["path"]
    ]
    assert compared(read_answers(copy / "answers")) == compared(here)
    status, said = batch("--resume", "--out", "s3://archive/answers")
    assert (status, "are done" in said) == (1, True)


def test_what_is_not_in_a_store_is_an_error_in_its_place(
    batch: Batch, s3: Any, archive: Path, tmp_path: Path
) -> None:
    s3.create_bucket(Bucket="few")
    s3.upload_file(str(next((archive / "patient1").iterdir())), "few", "a b?.png")
    listed = tmp_path / "list.csv"
    listed.write_text("number,path\n1,s3://few/a b?.png\n2,s3://few/none.png\n3,here.png\n")
    assert batch(listed, "--out", tmp_path / "out")[0] == 1
    errors = {row["path"]: row["error"] for row in read_answers(tmp_path / "out")}
    assert errors == {
        "s3://few/a b?.png": None,
        "s3://few/none.png": "no such file",
        str(tmp_path / "here.png"): "no such file",
    }


def test_no_thread_of_arrows_reads_ahead_when_it_ends(
    batch: Batch, archive: Path, tmp_path: Path, model: Path
) -> None:
    # Arrow aborts where Python ends while such a thread, of its data sets, still runs.
    out = tmp_path / "out"
    assert batch(archive / "patient1", "--out", out)[0] == 0
    code = (
        "import sys; from tumorscope.cli.main import main\n"
        "assert main(sys.argv[1:]) == 0; assert 'pyarrow.dataset' not in sys.modules"
    )
    words = ["batch", "--model", str(model), "--out", str(out), "--resume"]
    subprocess.run([sys.executable, "-c", code, *words], check=True)


def test_another_model_and_other_options_are_refused(
    batch: Batch, links: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert batch(links, "--out", out, "--axis", "axial")[0] == 0
    other = write_model(tmp_path / "other.onnx", sharpness=0.5)
    for words, said in (
        ([links], "holds a run: go on with it by --resume"),
        (["--resume", "--model", other], "begun with the model small 0.1"),
        (["--resume", "--axis", "coronal"], "begun with axis=axial, not coronal"),
        (["--resume", "--tta"], "begun with tta=False, not True"),
        (["--resume", tmp_path], "begun with sources="),
    ):
        status, complaint = batch(*words, "--out", out)
        assert (status, complaint.count("\n")) == (2, 1)
        assert said in complaint
    assert batch("--resume", "--axis", "axial", links, "--out", out)[0] == 0
    assert_each_once(out, links)


def test_what_cannot_be_begun_is_refused_in_one_line(
    batch: Batch, links: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "notes.txt").touch()
    out = tmp_path / "out"
    for words, said in (
        (["--out", out], "name what is to be classified"),
        ([links, "--out", links / "out"], f"lies in {links}, which is read"),
        (
            [links, links / "1.png", "--out", out],
            f"{links / '1.png'}: lies in {links}, which is given",
        ),
        ([links, links, "--out", out], "given twice"),
        ([tmp_path / "notes", "--out", out], "no files to classify"),
        ([f"@{tmp_path}/none.txt", "--out", out], "the list cannot be read"),
        ([links, "--out", tmp_path / "notes"], "not empty, and no batch run"),
        ([links, "--out", out, "--slices", "x"], "unknown slices 'x'"),
        (["s3://a:b@c/d", "--out", out], "a key in the address of c"),
    ):
        status, complaint = batch(*words)
        assert (status, complaint.count("\n")) == (2, 1), complaint
        assert said in complaint


@pytest.mark.parametrize("number", ["-1", "nan", "inf", "one"])
def test_what_is_no_number_of_cards_is_refused_before_a_run_is_begun(
    links: Path, tmp_path: Path, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["batch", str(links), "--out", str(tmp_path / "out"), "--gpus-per-worker", number])
    assert f"'{number}' is not a number of 0 or more" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_columns_are_typed(batch: Batch, links: Path, tmp_path: Path) -> None:
    assert batch(links, "--out", tmp_path / "out")[0] == 0
    schema = pq.read_table(tmp_path / "out").schema
    assert schema.names[:4] == ["path", "slice", "label", "probability"]
    assert str(schema.field("slice").type) == "int32"
    assert str(schema.field("probability_glioma").type) == "double"
