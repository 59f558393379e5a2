"""Tells whether an engine and this board belong together.

TensorRT's engines run only on the kind of board, and with the version of TensorRT, that built
them. So `build_engine.sh` leaves a file beside the engine that says which these were:

    python3 -m tumorscope.jetson.board.engine check [--any-board]    before building
    python3 -m tumorscope.jetson.board.engine describe model.onnx    after building
"""

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tumorscope.jetson.board.folder import MODEL, BoardError, check_files, file_sha256, read_facts

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List

BUILD = "run ./build_engine.sh on this board"

DEVICE_TREE = Path("/proc/device-tree/model")
"""Where a Jetson says what it is."""

_ROOM = 64 * 2**20
"""Bytes that must be free to build, beside three times the model's."""


def board_name() -> str:
    """Return what this machine calls itself: `NVIDIA Jetson Nano Developer Kit`."""
    try:
        return DEVICE_TREE.read_text(encoding="utf-8").strip("\0 \n")
    except (OSError, ValueError):
        return f"no Jetson ({platform.machine()})"


def import_tensorrt() -> "Any":
    """Return TensorRT's Python package.

    Raises:
        BoardError: There is none.
    """
    try:
        import tensorrt  # noqa: PLC0415  (only where it is used; the PC has none)
    except ImportError:
        raise BoardError(
            "no TensorRT for this Python: on a Jetson use JetPack's python3, elsewhere "
            "--runtime onnx"
        ) from None
    return tensorrt


def engine_of(model: str) -> str:
    """Return the name of a model file's engine."""
    return model.replace(".onnx", ".engine")


def read_engine(folder: Path, model: str, tensorrt: str) -> bytes:
    """Read an engine, after making sure that it belongs to this model, board and TensorRT.

    Args:
        folder: The bundle.
        model: The file that the engine was built from.
        tensorrt: This board's version of TensorRT.

    Raises:
        BoardError: There is no engine, or it does not belong here.
    """
    path = folder / engine_of(model)
    if not path.is_file():
        raise BoardError(f"no {path.name} here: {BUILD}")
    try:
        said = json.loads((folder / f"{path.name}.json").read_text(encoding="utf-8"))
        built_on, built_with = said["board"], said["tensorrt"]
        built_from, checksum = said["model_sha256"], said["engine_sha256"]
    except (OSError, KeyError, TypeError, ValueError):
        raise BoardError(f"{path.name}.json is missing or damaged: {BUILD}") from None
    if built_from != file_sha256(folder / model):
        raise BoardError(f"{path.name} was built from another {model}: {BUILD}")
    if (built_on, built_with) != (board_name(), tensorrt):
        raise BoardError(
            f"{path.name} was built on '{built_on}' with TensorRT {built_with}, this is "
            f"'{board_name()}' with {tensorrt}: {BUILD}"
        )
    blob = path.read_bytes()
    if file_sha256(path) != checksum:
        raise BoardError(f"{path.name} is damaged: {BUILD}")
    return blob


def describe(folder: Path, model: str) -> None:
    """Write beside a new engine what it was built from, on and with.

    Args:
        folder: The bundle.
        model: The file that the engine was built from.

    Raises:
        BoardError: TensorRT is missing.
    """
    said = {
        "board": board_name(),
        "tensorrt": import_tensorrt().__version__,
        "model_sha256": file_sha256(folder / model),
        "engine_sha256": file_sha256(folder / engine_of(model)),
    }
    text = json.dumps(said, indent=2) + "\n"
    (folder / f"{engine_of(model)}.json").write_text(text, encoding="utf-8")


def check(folder: Path, any_board: bool) -> None:  # noqa: FBT001  (one command's one switch)
    """Make sure that an engine can be built here.

    Args:
        folder: The bundle.
        any_board: Whether a board that the bundle was not made for will do.

    Raises:
        BoardError: It cannot; the message says why.
    """
    facts = read_facts(folder)
    check_files(folder)
    import_tensorrt()
    name = board_name()
    if not any_board and not all(word in name for word in facts.words):
        raise BoardError(
            f"wrong board: this bundle is for {facts.target}, this is '{name}': export it with "
            "another --target, or try ./build_engine.sh --any-board"
        )
    needed = _ROOM + 3 * (folder / MODEL).stat().st_size
    free = shutil.disk_usage(str(folder)).free
    if free < needed:
        raise BoardError(
            f"no space: {needed >> 20} MB must be free in {folder}, and {free >> 20} MB are"
        )


def main(arguments: "List[str]", folder: Path) -> int:
    """Check this board, or describe the engine that was built on it.

    Returns:
        The exit status: 0 all is well, 2 it is not.
    """
    work: "Dict[str, Callable[[], None]]" = {
        "check": lambda: check(folder, "--any-board" in arguments[1:]),
        "describe": lambda: describe(folder, arguments[1]),
    }
    try:
        work[arguments[0]]()
    except BoardError as error:
        sys.stderr.write(f"build_engine.sh: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], Path.cwd()))
