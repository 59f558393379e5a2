"""`tumorscope download`: fetches the public data sets and checks what came."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tumorscope.cli import show
from tumorscope.cli.main import STATUS_FAILED, STATUS_USAGE
from tumorscope.datasets.download import download_figshare, download_kaggle
from tumorscope.datasets.locations import SETS, default_folder
from tumorscope.datasets.manifest import kaggle_manifest, match
from tumorscope.errors import DataError
from tumorscope.images import PICTURE_SUFFIXES

_SHOWN = 5
_SARTAJ_PICTURES = 3264


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.add_argument(
        "set",
        nargs="?",
        default="all",
        choices=[*SETS, "all"],
        metavar="SET",
        help="kaggle (7,023 pictures, CC0), figshare (3,064 slices with outlines, CC BY 4.0, "
        "0.9 GB), sartaj (3,264 pictures) or all, the default",
    )
    parser.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="where the sets go, a folder for each; by default the user's cache, "
        "where every command looks",
    )


def run(options: argparse.Namespace) -> int:
    """Fetch and check; a set that fails does not stop the others."""
    folder = options.to or default_folder()
    chosen = SETS if options.set == "all" else (options.set,)
    whole, failed = [], []
    for name in chosen:
        try:
            if _download(name, folder / name):
                whole.append(name)
        except DataError as error:
            if len(chosen) == 1 or options.debug:
                raise
            failed.append(name)
            print(f"tumorscope: {name}: {' '.join(str(error).split())}", file=sys.stderr)
    if len(failed) == len(chosen):
        return STATUS_USAGE
    show.console().print(f"Use them with --data {folder}")
    return 0 if len(whole) == len(chosen) else STATUS_FAILED


def _download(name: str, folder: Path) -> bool:
    """Fetch one set and tell whether all of it is as expected."""
    show.console().print(f"{name} → {folder}")
    if name == "figshare":
        return _figshare(folder)
    download_kaggle(name, folder)
    return _kaggle(folder) if name == "kaggle" else _sartaj(folder)


def _kaggle(folder: Path) -> bool:
    result = match(folder, progress=show.progress)
    total = len(kaggle_manifest())
    show.console().print(f"  {len(result.matched):,} of {total:,} pictures agree with the manifest")
    _list("not in the manifest, so without patient and fold", result.unknown)
    _list("show something else than the manifest says", result.different)
    _list("missing", result.missing)
    _list("cannot be read", [item.name for item in result.unreadable])
    return len(result.matched) == total


def _figshare(folder: Path) -> bool:
    skipped = download_figshare(folder, progress=show.progress)
    pictures = sum(1 for _ in (folder / "images").glob("*.jpg"))
    show.console().print(f"  {pictures:,} slices with outlines")
    _list("left out", [f"{item.name}: {item.reason}" for item in skipped])
    return not skipped


def _sartaj(folder: Path) -> bool:
    pictures = sum(path.suffix.lower() in PICTURE_SUFFIXES for path in folder.rglob("*"))
    show.console().print(f"  {pictures:,} of {_SARTAJ_PICTURES:,} pictures")
    return pictures == _SARTAJ_PICTURES


def _list(what: str, names: Sequence[str]) -> None:
    if names:
        more = ", ..." if len(names) > _SHOWN else ""
        show.console().print(f"  {len(names):,} {what}: {', '.join(names[:_SHOWN])}{more}")
