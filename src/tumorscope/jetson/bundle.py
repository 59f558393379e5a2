"""Writes the folder that runs on a Jetson, and its archive."""

import gzip
import json
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tumorscope
from tumorscope import __version__
from tumorscope.errors import ModelError
from tumorscope.files import whole_file, write_bytes, write_text
from tumorscope.inference.complete_file import PixelSize, preparation
from tumorscope.inference.model_file import ModelFacts, open_model
from tumorscope.inference.onnx_messages import Model
from tumorscope.inference.runtimes import METADATA_KEY
from tumorscope.jetson.board.folder import (
    CHECKSUMS,
    FACTS,
    FORMAT,
    MODEL,
    PREPARATION,
    file_sha256,
)
from tumorscope.jetson.board_graph import board_graph
from tumorscope.jetson.cost import Estimate, estimate
from tumorscope.jetson.golden_cases import write_golden
from tumorscope.jetson.operators import precision_of
from tumorscope.jetson.targets import Target

_PACKAGE: Final = Path(tumorscope.__file__).parent

_AT_THE_TOP: Final = (
    "README.md",
    "build_engine.sh",
    "classify.py",
    "verify.py",
    "benchmark.py",
    "classify.cpp",
    "CMakeLists.txt",
)
"""Files of `tumorscope/jetson/board` that stand in the bundle's folder itself."""

_MODULES: Final = (
    "__init__.py",
    "jetson/board/__init__.py",
    "jetson/board/answers.py",
    "jetson/board/cuda.py",
    "jetson/board/engine.py",
    "jetson/board/folder.py",
    "jetson/board/golden.py",
    "jetson/board/frames.py",
    "jetson/board/board_overlay.py",
    "jetson/board/engines.py",
    "inference/heatmap.py",
    "inference/decision.py",
    "images/preparation.py",
    "images/reading.py",
    "images/suitability.py",
)
"""What they import, as it stands in this package; all of it runs on Python 3.6."""

_MADE_THERE: Final = (".engine", ".engine.json", "build_engine.log", "timing.cache", ".pyc")
"""Endings of what a bundle's own commands make; it is of no use to another model."""

_COMMANDS: Final = (".py", ".sh")


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was written.

    Attributes:
        path: The folder.
        archive: The same as a `.tar.gz` file.
        target: The board.
        model: Name and version of the model.
        size: Bytes of the folder's files.
        archive_size: Bytes of the archive.
        estimate: What a slice costs on the board, estimated.
    """

    path: Path
    archive: Path
    target: Target
    model: str
    size: int
    archive_size: int
    estimate: Estimate

    def to_json(self) -> dict[str, Any]:
        """Return everything by name."""
        return {
            "path": str(self.path),
            "archive": str(self.archive),
            "target": self.target.name,
            "model": self.model,
            "bytes": self.size,
            "archive_bytes": self.archive_size,
            "estimate": self.estimate.to_json(),
        }


def write_bundle(model: Path, target: Target, out: Path) -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        model: An ONNX file that `tumorscope export` wrote.
        target: The board.
        out: The folder; a bundle that stands there is replaced. The archive stands beside it.

    Raises:
        ModelError: The model cannot be used on the board, or another folder stands there.
        OSError: The bundle cannot be written.
    """
    facts = open_model(model, providers=["cpu"]).facts
    graph = board_graph(model, target)
    if other := _found_beside(out):
        raise ModelError(
            f"{out}: not empty, and no bundle that could be replaced ('{other}'): name another"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    archive = out.with_name(f"{out.name}.tar.gz")
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as temporary:
        made = Path(temporary) / out.name
        _fill(made, graph, facts, target)
        with whole_file(archive) as packed:
            _pack(made, packed)
        if out.exists():
            out.rename(Path(temporary) / "old")
        made.rename(out)
    return Bundle(
        path=out,
        archive=archive,
        target=target,
        model=facts.title,
        size=sum(path.stat().st_size for path in out.rglob("*") if path.is_file()),
        archive_size=archive.stat().st_size,
        estimate=estimate(graph, target),
    )


def _found_beside(folder: Path) -> str:
    """Return a file that would be lost if the folder was replaced: of no bundle, nor made by it."""
    if not folder.is_dir():
        return folder.name if folder.exists() else ""
    sums = folder / CHECKSUMS
    lines = sums.read_text(encoding="utf-8", errors="replace").splitlines() if sums.exists() else []
    bundled = {CHECKSUMS, *(line.partition("  ")[2] for line in lines)}
    others = (
        path.relative_to(folder).as_posix()
        for path in sorted(folder.rglob("*"))
        if not path.is_dir() and not path.name.endswith(_MADE_THERE)
    )
    return next((name for name in others if name not in bundled), "")


def _fill(folder: Path, graph: Model, facts: ModelFacts, target: Target) -> None:
    for name in _AT_THE_TOP:
        _copy(_PACKAGE / "jetson" / "board" / name, folder / name)
        if name.endswith(_COMMANDS):
            (folder / name).chmod(0o755)
    for name in _MODULES:
        _copy(_PACKAGE / name, folder / "tumorscope" / name)
    write_bytes(folder / MODEL, graph.SerializeToString())
    before = preparation(facts.input_size, PixelSize())
    write_bytes(folder / PREPARATION, before.SerializeToString())
    write_text(folder / FACTS, json.dumps(_facts(graph, folder, target), indent=2) + "\n")
    lines = [f"title {facts.title}"]
    lines += [] if facts.ood_threshold is None else [f"ood_threshold {facts.ood_threshold}"]
    for name, confident in zip(facts.classes, facts.confident, strict=True):
        lines += [f"class {name}", f"confident {confident}"]
    write_text(folder / "model.txt", "".join(f"{json.dumps(line)[1:-1]}\n" for line in lines))
    write_golden(folder, facts)
    names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    listed = [f"{file_sha256(folder / name)}  {name.as_posix()}\n" for name in names]
    write_text(folder / CHECKSUMS, "".join(listed))


def _copy(source: Path, destination: Path) -> None:
    destination.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(destination, source.read_bytes())


def _facts(graph: Model, folder: Path, target: Target) -> dict[str, Any]:
    """Return what `model.json` says."""
    metadata = {item.key: item.value for item in graph.metadata_props}
    return {
        "format": FORMAT,
        "tumorscope": __version__,
        "target": {
            "name": target.name,
            "words": list(target.words),
            "jetpack": target.jetpack,
            "tensorrt": target.tensorrt.version,
            "workspace_mib": target.workspace,
        },
        "precision": precision_of(graph),
        "opset": next(item.version for item in graph.opset_import if not item.domain),
        "inputs": {port.name: _shape(port) for port in graph.graph.input},
        "outputs": {port.name: _shape(port) for port in graph.graph.output},
        "model_sha256": file_sha256(folder / MODEL),
        "model": json.loads(metadata[METADATA_KEY]),
    }


def _shape(port: Any) -> list[int]:
    return [side.dim_value for side in port.type.tensor_type.shape.dim]


def _pack(folder: Path, path: Path) -> None:
    """Write the folder as an archive that depends on nothing but its files."""

    def plain(item: tarfile.TarInfo) -> tarfile.TarInfo:
        item.mtime = item.uid = item.gid = 0
        item.uname = item.gname = ""
        return item

    with (
        path.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        archive.add(folder, folder.name, filter=plain)
