"""Downloads against a real server on this machine that cuts, refuses and lies on demand."""

import csv
import hashlib
import io
import json
import re
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from processes import free_port
from tumorscope.cli.main import main
from tumorscope.datasets.download import (
    RemoteFile,
    download_figshare,
    download_kaggle,
    fetch,
    list_figshare,
)
from tumorscope.datasets.figshare_files import convert, patient_prefix
from tumorscope.errors import DataError
from tumorscope.images import read_slice

MIB = 1 << 20
PIECES = np.random.default_rng(0).bytes(3 * MIB + 77)


@dataclass
class Site:
    """What the server gives, what goes wrong on the next requests, and what was asked."""

    address: str
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    ranges: bool = True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_GET(self) -> None:
        site, path = self.site, self.path.removeprefix("/api")
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        wanted = self.headers.get("Range", "")
        site.asked.append((path, wanted))
        queue = site.faults.get(path, [])
        fault = queue.pop(0) if queue else ""
        content = site.files.get(path)
        if fault.isdigit() or content is None:
            self._answer(int(fault or 404), b"")
            return
        start = int(re.sub(r"\D", "", wanted) or 0) if site.ranges else 0
        status = 206 if wanted and site.ranges else 200
        if fault == "short":
            content = content[: len(content) // 2]
        self._answer(status, content[start:], cut=fault == "cut")

    do_POST = do_HEAD = do_GET  # noqa: N815  (the names that http.server calls)

    def _answer(self, status: int, content: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "HEAD":
            return
        self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


def serve(port: int = 0) -> tuple[ThreadingHTTPServer, Site]:
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler)
    site = Site(f"http://127.0.0.1:{server.server_port}")
    handler.site = site  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    return server, site


@pytest.fixture
def site() -> Iterator[Site]:
    server, site = serve()
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture
def closed_address() -> str:
    """An address where nobody listens."""
    return f"http://127.0.0.1:{free_port()}"


def remote(site: Site, content: bytes = PIECES, *, paths: tuple[str, ...] = ("/a",)) -> RemoteFile:
    urls = tuple(site.address + path for path in paths)
    return RemoteFile("a.zip", urls, len(content), hashlib.md5(content).hexdigest())


def mat(
    label: int, patient: str, image: np.ndarray, mask: np.ndarray, leave_out: str = ""
) -> bytes:
    """Write a MATLAB v7.3 file as figshare's are: columns first, text as numbers."""
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        record = content.create_group("cjdata")
        record["label"] = np.array([[float(label)]])
        record["PID"] = np.array([[ord(letter)] for letter in patient], dtype=np.uint16)
        record["image"] = image.astype(np.int16).T
        record["tumorMask"] = mask.astype(np.uint8).T
        if leave_out:
            del record[leave_out]
    return file.getvalue()


def slice_and_mask(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a slice that is brightest in its upper right quarter, where the tumour is."""
    image = np.full((512, 512), 100 + seed)
    image[:256, 256:] = 3000
    mask = np.zeros((512, 512))
    mask[40:140, 300:420] = 1
    return image, mask


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def folds(values: list[int]) -> bytes:
    file = io.BytesIO()
    with h5py.File(file, "w") as content:
        content["cvind"] = np.array([values], dtype=np.float64)
    return file.getvalue()


def published() -> dict[str, bytes]:
    """A small figshare article: four slices in two archives."""
    return {
        "brainTumorDataPublic_1-2.zip": zipped(
            {
                "1.mat": mat(1, "100360", *slice_and_mask()),
                "set/2.mat": mat(2, "MR040240B", *slice_and_mask(1)),
            }
        ),
        "brainTumorDataPublic_3-4.zip": zipped(
            {
                "3.mat": mat(3, "MR040240", *slice_and_mask(2)),
                "4.mat": mat(1, "112847 ", *slice_and_mask(3)),
                "notes.txt": b"no slice",
            }
        ),
        "cvind.mat": folds([3, 1, 5, 2]),
        "README.txt": b"not fetched",
    }


@pytest.fixture
def figshare(site: Site) -> Site:
    entries = []
    for number, (name, content) in enumerate(published().items()):
        site.files[f"/files/{number}"] = site.files[f"/file/download/{number}"] = content
        entries.append(
            {
                "id": number,
                "name": name,
                "size": len(content),
                "computed_md5": hashlib.md5(content).hexdigest(),
                "download_url": f"{site.address}/files/{number}",
            }
        )
    site.files["/articles/1512427"] = json.dumps({"files": entries}).encode()
    return site


# --- one file


def test_a_file_comes_whole_with_progress(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = PIECES
    seen = []

    def watch(items, *, total, label):  # type: ignore[no-untyped-def]
        seen.append((total, label))
        yield from items

    path = fetch(remote(site), tmp_path, progress=watch)
    assert path.read_bytes() == PIECES
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]
    assert seen == [(4, "a.zip (MiB)")]
    fetch(remote(site), tmp_path)
    assert len(site.asked) == 1, "a finished file is not fetched again"
    path.write_bytes(b"something else")
    with pytest.raises(DataError, match=r"a\.zip: wrong checksum; delete it"):
        fetch(remote(site), tmp_path)


def test_a_cut_connection_is_taken_up_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = PIECES
    site.faults["/a"] = ["cut", "cut"]
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == PIECES
    starts = [int(re.sub(r"\D", "", wanted)) for _, wanted in site.asked]
    assert starts[0] == 0
    assert starts == sorted(starts)
    assert starts[-1] >= MIB


def test_an_earlier_run_is_continued(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = PIECES
    (tmp_path / "a.zip.part").write_bytes(PIECES[: 2 * MIB])
    assert fetch(remote(site), tmp_path).read_bytes() == PIECES
    assert site.asked == [("/a", f"bytes={2 * MIB}-")]


def test_a_server_without_ranges_starts_anew(site: Site, tmp_path: Path) -> None:
    site.files["/a"], site.ranges = PIECES, False
    (tmp_path / "a.zip.part").write_bytes(b"x" * MIB)
    assert fetch(remote(site), tmp_path).read_bytes() == PIECES


def test_passing_faults_are_waited_out(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = PIECES
    site.faults["/a"] = ["503", "500"]
    assert fetch(remote(site), tmp_path, pause=0).read_bytes() == PIECES


@pytest.mark.parametrize("fault", ["503", "short"])
def test_lasting_faults_end_with_a_line(site: Site, tmp_path: Path, fault: str) -> None:
    site.files["/a"], site.ranges = PIECES, False
    site.faults["/a"] = [fault] * 9
    with pytest.raises(DataError, match=r"a\.zip: 127.* stopped answering .*goes on where"):
        fetch(remote(site), tmp_path, pause=0, attempts=3)
    assert not (tmp_path / "a.zip").exists()


def test_a_wrong_checksum_leaves_nothing(site: Site, tmp_path: Path) -> None:
    site.files["/a"] = PIECES[:-1] + b"!"
    with pytest.raises(DataError, match=r"a\.zip: wrong checksum"):
        fetch(remote(site), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.zip: not found at http"):
        fetch(remote(site), tmp_path)


@pytest.mark.parametrize("status", ["202", "403"])
def test_a_robot_check_is_walked_round(site: Site, tmp_path: Path, status: str) -> None:
    site.files["/a"] = site.files["/b"] = PIECES
    site.faults["/a"] = [status] * 2
    assert fetch(remote(site, paths=("/a", "/b")), tmp_path).read_bytes() == PIECES
    site.faults["/b"] = [status]
    (tmp_path / "a.zip").unlink()
    with pytest.raises(DataError, match=rf"refuses this machine \(status {status}\).*browser"):
        fetch(remote(site, paths=("/a", "/b")), tmp_path)


# --- the list of figshare's files


def test_the_list_is_asked_for(figshare: Site) -> None:
    figshare.faults["/articles/1512427"] = ["503", "429"]
    files = list_figshare(site=figshare.address, pause=0)
    assert [file.name for file in files] == list(published())[:3]
    assert files[2].urls == (
        f"{figshare.address}/files/2",
        f"{figshare.address}/file/download/2",
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "not a list of files"),
        (b'{"files": [{"name": "a.zip"}]}', "not a list of files"),
        (b'{"files": []}', "lists no archives"),
        (
            b'{"files": [{"id": 1, "name": "../a.zip", "size": 1, "computed_md5": "", '
            b'"download_url": ""}]}',
            "'../a.zip'",
        ),
    ],
)
def test_a_strange_list_is_refused(site: Site, answer: bytes, message: str) -> None:
    site.files["/articles/1512427"] = answer
    with pytest.raises(DataError, match=re.escape(message)):
        list_figshare(site=site.address)


def test_a_list_that_is_not_given(site: Site, closed_address: str) -> None:
    with pytest.raises(DataError, match="404"):
        list_figshare(site=site.address)
    site.faults["/articles/1512427"] = ["503"] * 9
    with pytest.raises(DataError, match="try again later"):
        list_figshare(site=site.address, pause=0)
    with pytest.raises(DataError, match="no network: 127"):
        list_figshare(site=closed_address)


# --- the whole figshare set


def test_figshare_comes_converted(figshare: Site, tmp_path: Path) -> None:
    folder = tmp_path / "figshare"
    assert download_figshare(folder, site=figshare.address, pause=0) == ()
    assert (folder / "index.csv").read_text() == (
        "index,class,patient,patient_prefix,fold\n"
        "1,meningioma,100360,100360,3\n"
        "2,glioma,MR040240B,MR040240,1\n"
        "3,pituitary,MR040240,MR040240,5\n"
        "4,meningioma,112847,112847,2\n"
    )
    picture = read_slice(folder / "images" / "0002.jpg")
    assert picture.shape == (256, 256)
    assert picture[:120, 136:].min() > 250, "bright in the upper right quarter, as drawn"
    assert picture[136:].max() < 5
    mask = np.asarray(Image.open(folder / "masks" / "0002.png").convert("L"))
    assert mask.shape == (256, 256)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == 50 * 60
    assert mask[20:70, 150:210].all()
    assert not (folder / "archives").exists()
    asked = len(figshare.asked)
    assert download_figshare(folder, site=figshare.address) == ()
    assert len(figshare.asked) == asked, "a finished download is not fetched again"


def test_an_interrupted_figshare_download_goes_on(figshare: Site, tmp_path: Path) -> None:
    figshare.faults["/files/1"] = ["404"]
    with pytest.raises(DataError, match=r"3-4\.zip: not found"):
        download_figshare(tmp_path, site=figshare.address, pause=0)
    assert not (tmp_path / "index.csv").exists()
    figshare.faults.clear()
    figshare.asked.clear()
    assert download_figshare(tmp_path, site=figshare.address, pause=0) == ()
    assert [path for path, _ in figshare.asked] == ["/articles/1512427", "/files/1", "/files/2"]


def test_archives_brought_by_hand_need_no_network(tmp_path: Path, closed_address: str) -> None:
    (tmp_path / "archives").mkdir()
    for name, content in published().items():
        (tmp_path / "archives" / name).write_bytes(content)
    assert download_figshare(tmp_path, site=closed_address) == ()
    assert len(list((tmp_path / "images").iterdir())) == 4


def test_a_full_disk_is_told_before(figshare: Site, tmp_path: Path) -> None:
    listing = json.loads(figshare.files["/articles/1512427"])
    listing["files"][0]["size"] = 10**18
    figshare.files["/articles/1512427"] = json.dumps(listing).encode()
    with pytest.raises(DataError, match="make room or choose another folder with --to"):
        download_figshare(tmp_path, site=figshare.address)
    assert len(figshare.asked) == 1


def test_a_disk_that_fills_under_way_keeps_what_came(
    figshare: Site, small_disk: Callable[[int], Path]
) -> None:
    folder = small_disk(32 * 1024) / "figshare"
    figshare.files["/files/1"] += bytes(1 << 20)  # more than was told before
    with pytest.raises(OSError, match="No space left on device"):
        download_figshare(folder, site=figshare.address, pause=0)
    assert not (folder / "index.csv").exists()
    assert (folder / "archives" / "brainTumorDataPublic_1-2.zip").is_file()
    assert not (folder / "archives" / "brainTumorDataPublic_3-4.zip").exists()


# --- MATLAB files


def archives(folder: Path, members: dict[str, bytes], fold_values: list[int]) -> Path:
    folder.mkdir()
    (folder / "some.zip").write_bytes(zipped(members))
    (folder / "cvind.mat").write_bytes(folds(fold_values))
    return folder


def test_damaged_mat_files_are_named_and_skipped(tmp_path: Path) -> None:
    image, mask = slice_and_mask()
    whole = mat(2, "MR1", image, mask)
    folder = archives(
        tmp_path / "archives",
        {
            "1.mat": whole,
            "2.mat": whole[: len(whole) // 2],
            "3.mat": b"text",
            "4.mat": mat(7, "MR2", image, mask),
            "5.mat": mat(1, "MR2", image, mask[:100]),
            "6.mat": mat(1, "MR2", image, mask, leave_out="image"),
            "9.mat": whole,
        },
        [1, 2, 3, 4, 5, 1, 2],
    )
    skipped = convert(folder, tmp_path / "set")
    reasons = {item.name: item.reason for item in skipped}
    assert list(reasons) == ["2.mat", "3.mat", "4.mat", "5.mat", "6.mat", "7.mat", "9.mat"]
    assert all(reasons[f"{number}.mat"].startswith("damaged (") for number in range(2, 7))
    assert reasons["7.mat"] == "not in the archives"
    assert reasons["9.mat"] == "no fold in cvind.mat"
    with (tmp_path / "set" / "index.csv").open() as lines:
        assert [row["index"] for row in csv.DictReader(lines)] == ["1"]
    assert [path.name for path in (tmp_path / "set" / "images").iterdir()] == ["0001.jpg"]


def test_conversion_keeps_what_an_earlier_run_wrote(tmp_path: Path) -> None:
    image, mask = slice_and_mask()
    folder = archives(
        tmp_path / "archives",
        {"1.mat": mat(1, "1", image, mask), "2.mat": mat(3, "2", np.full((512, 512), 9), mask)},
        [1, 2],
    )
    target = tmp_path / "set"
    convert(folder, target)
    assert read_slice(target / "images" / "0002.jpg").max() == 0, "a flat slice has no contrast"
    index = (target / "index.csv").read_bytes()
    (target / "images" / "0001.jpg").write_bytes(b"kept")
    (target / "images" / "0002.jpg").unlink()
    convert(folder, target)
    assert (target / "images" / "0001.jpg").read_bytes() == b"kept"
    assert read_slice(target / "images" / "0002.jpg").shape == (256, 256)
    assert (target / "index.csv").read_bytes() == index


def test_archives_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    folder = archives(tmp_path / "archives", {}, [1])
    (folder / "other.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"other\.zip: not a whole zip archive"):
        convert(folder, tmp_path / "set")
    (folder / "cvind.mat").write_bytes(b"no folds")
    with pytest.raises(DataError, match=r"cvind\.mat: damaged"):
        convert(folder, tmp_path / "set")
    (folder / "cvind.mat").unlink()
    with pytest.raises(DataError, match=r"cvind\.mat: missing"):
        convert(folder, tmp_path / "set")
    assert not (tmp_path / "set" / "index.csv").exists()


def test_prefixes_are_those_of_the_published_index(real_data: Path) -> None:
    with (real_data / "figshare" / "index.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    assert all(patient_prefix(row["patient"]) == row["patient_prefix"] for row in rows)
    assert len({row["patient_prefix"] for row in rows}) == 209


# --- Kaggle


def kaggle_archive(healthy: str) -> bytes:
    file = io.BytesIO()
    Image.new("L", (64, 64), 90).save(file, "JPEG")
    names = [f"{split}/{healthy}/image.jpg" for split in ("Training", "Testing")]
    return zipped(dict.fromkeys(names, file.getvalue()))


def test_kagglehub_fetches_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_disk: Callable[[int], Path]
) -> None:
    # kagglehub's own setting for tests: it then talks to this fixed port.
    try:
        server, site = serve(7777)
    except OSError:
        pytest.skip("port 7777, the one of kagglehub's test setting, is taken")
    monkeypatch.setenv("KAGGLE_API_ENVIRONMENT", "TEST")
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "cache"))
    asked = "/v1/datasets.DatasetApiService/DownloadDataset"
    try:
        site.faults[asked] = ["403"]
        with pytest.raises(DataError, match=r"Kaggle does not give masoudnickparvar.*versions/1"):
            download_kaggle("kaggle", tmp_path / "kaggle", site=site.address)
        site.faults.clear()
        site.files[asked] = b"no archive"
        with pytest.raises(DataError, match="run the download again"):
            download_kaggle("kaggle", tmp_path / "kaggle", site=site.address)
        assert not (tmp_path / "kaggle").exists()
        site.files[asked] = kaggle_archive("no_tumor")
        folder = download_kaggle("sartaj", tmp_path / "sartaj", site=site.address)
        assert (folder / "Training" / "no_tumor" / "image.jpg").is_file()
        count = len(site.asked)
        assert download_kaggle("sartaj", tmp_path / "sartaj", site=site.address) == folder
        assert len(site.asked) == count
        disk = small_disk(4096)
        with pytest.raises(DataError, match=r"disk/sartaj: cannot be written .*No space.*--to"):
            download_kaggle("sartaj", disk / "sartaj", site=site.address)
        assert list(disk.iterdir()) == []
    finally:
        server.shutdown()
        server.server_close()


def test_no_network_is_told_at_once(closed_address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no network: 127"):
        download_kaggle("kaggle", tmp_path / "kaggle", site=closed_address)
    assert list(tmp_path.iterdir()) == []


# --- the command


@pytest.fixture
def cut_off(monkeypatch: pytest.MonkeyPatch, closed_address: str) -> None:
    """No network: every request goes to a proxy that does not answer."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, closed_address)


def tree(folder: Path, healthy: str) -> None:
    with zipfile.ZipFile(io.BytesIO(kaggle_archive(healthy))) as archive:
        archive.extractall(folder)


@pytest.mark.usefixtures("cut_off")
@pytest.mark.parametrize("name", ["kaggle", "figshare", "sartaj", "all"])
def test_command_without_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["download", name, "--to", str(tmp_path / "data")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == (3 if name == "all" else 1)
    assert all("no network" in line for line in lines)
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("cut_off")
def test_command_goes_on_with_the_other_sets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree(tmp_path / "kaggle", "notumor")
    (tmp_path / "figshare" / "images").mkdir(parents=True)
    (tmp_path / "figshare" / "index.csv").touch()
    assert main(["download", "--to", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "0 of 7,019 pictures agree" in said.out
    assert "2 not in the manifest" in said.out
    assert "7,019 missing: Testing/glioma/Te-glTr_0000.jpg" in said.out
    assert "0 slices with outlines" in said.out
    assert said.err.startswith("tumorscope: sartaj: no network")


def test_command_finds_every_real_picture_in_the_manifest(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "kaggle").symlink_to(real_data / "kaggle")
    assert main(["download", "kaggle", "--to", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"kaggle → {tmp_path / 'kaggle'}",
        "  7,019 of 7,019 pictures agree with the manifest",
        f"Use them with --data {tmp_path}",
    ]


def test_command_counts_sartaj(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree(tmp_path / "sartaj", "no_tumor")
    assert main(["download", "sartaj", "--to", str(tmp_path)]) == 1
    assert "2 of 3,264 pictures" in capsys.readouterr().out


def test_help_and_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["download", "--help"])
    assert leaving.value.code == 0
    assert len(capsys.readouterr().out.splitlines()) <= 24
    with pytest.raises(SystemExit) as leaving:
        main(["download", "brisc"])
    assert leaving.value.code == 2
