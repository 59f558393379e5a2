"""Downloads public data sets and checks their files.

Kaggle's sets come through kagglehub, figshare's through its public interface; whatever was
fetched before is kept, and an interrupted download goes on where it stopped.
"""

import hashlib
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from tumorscope.datasets.catalogue import Skipped
from tumorscope.datasets.figshare_files import FOLDS_FILE, convert
from tumorscope.datasets.locations import find_splits
from tumorscope.errors import DataError
from tumorscope.progress import Progress, silent

KAGGLE_HANDLES: Final[Mapping[str, str]] = MappingProxyType(
    {
        # Version 2 holds 7,200 pictures, another split and augmented copies.
        "kaggle": "masoudnickparvar/brain-tumor-mri-dataset/versions/1",
        "sartaj": "sartajbhuvaji/brain-tumor-classification-mri/versions/2",
    }
)
"""Kaggle's names of the sets, each pinned to a version."""

KAGGLE_SITE: Final = "https://api.kaggle.com"
FIGSHARE_SITE: Final = "https://api.figshare.com/v2"
FIGSHARE_ARTICLE: Final = 1512427

_TIMEOUT: Final = (10, 60)
_PIECE: Final = 1 << 20
_MISSING: Final = 404
# figshare answers machines that it takes for robots with one of these instead of the file.
_REFUSALS: Final = (202, 401, 403)
_PASSING: Final = (429, 500, 502, 503, 504)


@dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
        name: Its name, without a folder.
        urls: Where it can be had; the next is tried when one refuses.
        size: In bytes.
        md5: The published checksum, in hexadecimal.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    md5: str


def download_kaggle(name: str, folder: Path, *, site: str = KAGGLE_SITE) -> Path:
    """Fetch one of Kaggle's sets, unless it is there already.

    kagglehub resumes, checks and keeps the archive in its own cache; a copy goes to `folder`.

    Args:
        name: One of `KAGGLE_HANDLES`.
        folder: The set's folder, `Training` and `Testing` come into it.
        site: Where kagglehub will ask; tried first, because it would wait for minutes.

    Returns:
        The folder.

    Raises:
        DataError: No network, no such version, a damaged archive.
    """
    import kagglehub  # noqa: PLC0415  (takes half a second to import)

    if folder.is_dir():
        return find_splits(folder)
    handle = KAGGLE_HANDLES[name]
    try:
        requests.head(site, timeout=_TIMEOUT)
        fetched = Path(kagglehub.dataset_download(handle))
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _no_network(site) from error
    except requests.RequestException as error:
        raise DataError(f"Kaggle does not give {handle}: {_first_line(error)}") from error
    except OSError:
        raise  # a full disk says so itself
    except Exception as error:  # kagglehub's own errors share no class
        raise DataError(f"{handle}: {_first_line(error)}; run the download again") from error
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as unfinished:
        try:
            shutil.copytree(find_splits(fetched), Path(unfinished) / name).replace(folder)
        except shutil.Error as error:  # a list of all files that could not be copied
            reason = error.args[0][0][2]
            raise DataError(
                f"{folder}: cannot be written ({reason}); make room or choose another folder "
                "with --to"
            ) from None
    return folder


def download_figshare(
    folder: Path, *, site: str = FIGSHARE_SITE, pause: float = 1.0, progress: Progress = silent
) -> tuple[Skipped, ...]:
    """Fetch figshare's brain tumour set and convert it, unless it is there already.

    The published archives go to `folder/archives` and are removed once every slice is converted.
    Archives that were put there by hand are converted without a network, too.

    Args:
        folder: The set's folder; for what comes into it see `figshare_files.convert`.
        site: figshare's public interface.
        pause: Seconds before the first new try after a fault; each further one waits twice as long.
        progress: Shows how far it is.

    Returns:
        The files that could not be converted, and why.

    Raises:
        DataError: No network, no space, a file that figshare does not give, a wrong checksum.
    """
    archives = folder / "archives"
    if (folder / "index.csv").is_file() and not archives.is_dir():
        return ()
    try:
        files = list_figshare(site=site, pause=pause)
    except DataError:
        if not (archives / FOLDS_FILE).is_file():
            raise
        files = ()  # archives brought by hand; converting them names what is damaged or missing
    archives.mkdir(parents=True, exist_ok=True)
    missing = sum(file.size for file in files if not (archives / file.name).is_file())
    _check_space(archives, missing)
    for file in files:
        fetch(file, archives, pause=pause, progress=progress)
    skipped = convert(archives, folder, progress=progress)
    if not skipped:
        shutil.rmtree(archives)
    return skipped


def list_figshare(*, site: str = FIGSHARE_SITE, pause: float = 1.0) -> tuple[RemoteFile, ...]:
    """Ask figshare which files the brain tumour set has now: the zip archives and the folds.

    Raises:
        DataError: No network, or an answer that cannot be understood.
    """
    url = f"{site}/articles/{FIGSHARE_ARTICLE}"
    retries = Retry(total=4, connect=0, backoff_factor=pause, status_forcelist=_PASSING)
    try:
        with requests.Session() as session:
            session.mount(site, HTTPAdapter(max_retries=retries))
            answer = session.get(url, timeout=_TIMEOUT)
        answer.raise_for_status()
        found = [_remote_file(entry, site) for entry in answer.json()["files"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{url}: figshare's answer is not a list of files ({error})") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _no_network(site) from error
    except requests.RequestException as error:
        raise DataError(
            f"{url}: {_first_line(error)}; try again later, or fetch the files with a browser "
            "into the folder 'archives' of the set"
        ) from error
    files = [file for file in found if file.name.endswith(".zip") or file.name == FOLDS_FILE]
    if FOLDS_FILE not in {file.name for file in files} or len(files) < 2:
        raise DataError(f"{url}: figshare lists no archives with {FOLDS_FILE} any more")
    return tuple(files)


def fetch(
    file: RemoteFile,
    folder: Path,
    *,
    attempts: int = 5,
    pause: float = 1.0,
    progress: Progress = silent,
) -> Path:
    """Fetch a file, going on with what an earlier run left in `NAME.part`.

    Args:
        file: What to fetch.
        folder: Where it goes; a file of that name there is only checked.
        attempts: How often in a row it may fail before this gives up.
        pause: Seconds before the second attempt; each further one waits twice as long.
        progress: Shows how far it is, in MiB.

    Returns:
        The finished file.

    Raises:
        DataError: The file is not given, the network is gone, or the checksum is wrong.
    """
    target = folder / file.name
    if target.is_file():
        if _md5(target) != file.md5:
            raise DataError(f"{target}: wrong checksum; delete it and run the download again")
        return target
    part = folder / f"{file.name}.part"
    part.touch()
    pieces = _pieces(file, part, attempts, pause)
    for _ in progress(pieces, total=math.ceil(file.size / _PIECE), label=f"{file.name} (MiB)"):
        pass
    if _md5(part) != file.md5:
        part.unlink()
        raise DataError(f"{file.name}: wrong checksum, so it was deleted; run the download again")
    part.replace(target)
    return target


def _pieces(file: RemoteFile, part: Path, attempts: int, pause: float) -> Iterator[None]:
    """Append to the part until it is whole, one step for each MiB (those there count too)."""
    urls = list(file.urls)
    yield from (None for _ in range(part.stat().st_size // _PIECE))
    failures = 0
    while (have := part.stat().st_size) < file.size:
        reason = "the answer was short"
        try:
            with requests.get(
                urls[0], headers={"Range": f"bytes={have}-"}, stream=True, timeout=_TIMEOUT
            ) as answer:
                if answer.status_code in _REFUSALS and len(urls) > 1:
                    urls.pop(0)
                    continue
                _check_answer(answer, file, part)
                with part.open("ab" if answer.status_code == 206 else "wb") as output:
                    for piece in answer.iter_content(_PIECE):
                        output.write(piece)
                        yield
        except requests.RequestException as error:
            reason = _first_line(error)
        failures = 0 if part.stat().st_size > have else failures + 1
        if failures == attempts:
            raise DataError(
                f"{file.name}: {urlsplit(urls[0]).netloc} stopped answering ({reason}); "
                "run the download again, it goes on where it stopped"
            )
        time.sleep(pause * 2**failures if failures else 0)


def _check_answer(answer: requests.Response, file: RemoteFile, part: Path) -> None:
    status = answer.status_code
    if status in _REFUSALS:
        raise DataError(
            f"{file.name}: {urlsplit(answer.url).netloc} refuses this machine (status {status}); "
            f"fetch it with a browser from https://doi.org/10.6084/m9.figshare.{FIGSHARE_ARTICLE} "
            f"into {part.parent}, then run the download again"
        )
    if status == _MISSING:
        raise DataError(f"{file.name}: not found at {answer.url}")
    answer.raise_for_status()


def _md5(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _remote_file(entry: dict[str, Any], site: str) -> RemoteFile:
    name = str(entry["name"])
    if Path(name).name != name:
        raise ValueError(f"a file called '{name}'")
    # The site's own way to a file works where the published address asks for a browser.
    urls = (str(entry["download_url"]), f"{site}/file/download/{int(entry['id'])}")
    return RemoteFile(name, urls, int(entry["size"]), str(entry["computed_md5"]))


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DataError(
            f"{folder}: {needed / 1e6:,.0f} MB needed, {free / 1e6:,.0f} MB free; "
            "make room or choose another folder with --to"
        )


def _no_network(site: str) -> DataError:
    host = urlsplit(site).netloc
    return DataError(
        f"no network: {host} cannot be reached; check the connection (or the proxy), or name a "
        "folder that has the data with --data DIR"
    )


def _first_line(error: Exception) -> str:
    words = " ".join(str(error).split()) or type(error).__name__
    return words if len(words) <= 160 else words[:157] + "..."
