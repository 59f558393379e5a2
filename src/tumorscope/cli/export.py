"""`tumorscope export`: writes a checked model file, or a folder for a Jetson."""

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.show import console, progress, table, write_json
from tumorscope.errors import MissingExtraError, ModelError

if TYPE_CHECKING:
    from tumorscope.export import Exported, Verification
    from tumorscope.inference.complete_file import PixelSize
    from tumorscope.inference.runtimes import Runtime
    from tumorscope.jetson import Bundle

SUMMARIES: Final = {
    "onnx": "one file for predict, ONNX Runtime and TensorRT",
    "onnx-fp16": "half the size, 16-bit floating point",
    "onnx-int8": "a quarter to a third of the size, 8 bits, for processors",
    "onnx-int8-signed": "the same for TensorRT: signed and symmetric",
    "torchscript": "for libtorch and C++",
    "openvino": "a folder for OpenVINO (needs openvino)",
    "tensorrt": "an engine for this machine's NVIDIA GPU (needs TensorRT)",
    "litert": "a .tflite file for Android and boards (needs litert-torch)",
    "litert-int8": "the same in 8 bits, a third of the size",
    "triton": "a model repository for Triton Inference Server; takes pixels",
    "monai-bundle": "a bundle for MONAI; takes pixels",
}
"""The formats by name, a line each."""

_PACKED: Final = ("triton", "monai-bundle")
"""Formats that are a folder around a file that takes pixels; a model file will do, too."""

_WITHOUT_TORCH: Final = (None, "onnx", "onnx-fp16")
"""Formats that a model file that takes pixels is made in without PyTorch."""

TARGETS: Final = ("jetson-nano", "orin-jp6", "orin-jp7", "thor")
_FORMATS: Final = {"fp32": "onnx", "fp16": "onnx-fp16", "int8": "onnx-int8-signed"}
"""The format of a board's file by its precision."""

_APART: Final = 1e-2
"""How far a probability may move when the preparation is in the file: its roundings may differ."""

OPSET: Final = 13
"""The newest operator set that TensorRT 8.2, the last one for a Jetson Nano, reads."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    width = max(len(name) for name in SUMMARIES)
    lines = [f"  {name:{width}}  {summary}" for name, summary in SUMMARIES.items()]
    parser.description = "\n".join(
        [
            "Make a model file of a run or of another model file, or with --target a folder",
            "that runs on a Jetson. The formats are",
            "",
            *lines,
        ]
    )
    parser.add_argument(
        "source",
        metavar="RUN",
        help="a run folder, a model file or a bundled model's name",
    )
    parser.add_argument(
        "--format",
        choices=SUMMARIES,
        metavar="NAME",
        help="default: onnx; with --target what the board takes",
    )
    parser.add_argument(
        "--target",
        choices=TARGETS,
        metavar="BOARD",
        help=f"a bundle for {', '.join(TARGETS)}",
    )
    parser.add_argument(
        "--out", type=Path, metavar="PATH", help="the file or folder (default: in the run, or here)"
    )
    parser.add_argument(
        "--batch", default="dynamic", metavar="N", help="images a call: a number, or dynamic"
    )
    parser.add_argument(
        "--input",
        choices=("prepared", "pixels"),
        metavar="KIND",
        help="pixels: raw slices, prepared in the file; else prepared",
    )
    parser.add_argument(
        "--input-size",
        metavar="HxW",
        help="of those slices, where all have one size",
    )
    parser.add_argument(
        "--opset",
        default=str(OPSET),
        metavar="N",
        help=f"ONNX operator set: a number, or newest (default: {OPSET})",
    )
    parser.add_argument(
        "--data",
        type=Path,
        action="append",
        metavar="DIR",
        help="where the run's data is now (default: where it was)",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="what the model is called (default: after its recipe)"
    )
    parser.add_argument(
        "--no-verify", action="store_true", help="do not compare the file with the network"
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures, too; - for the screen")


def run(options: argparse.Namespace) -> int:
    """Write the file or the bundle and show what became of it."""
    made: Bundle | Exported
    if options.input == "prepared" and options.format in _PACKED:
        raise ModelError(f"{options.format} takes pixels: leave out --input prepared")
    if options.target:
        made = _make_bundle(options)
    elif options.format in _PACKED and not Path(options.source).is_dir():
        return _pack(options)
    elif (
        options.input == "pixels"
        and options.format in _WITHOUT_TORCH
        and not Path(options.source).is_dir()
    ):
        return _complete(options)
    else:
        made = _export(
            options, options.format or "onnx", options.out, opset=options.opset, batch=options.batch
        )
    if options.json:
        write_json(options.json, made.to_json())
    return 0


def _export(
    options: argparse.Namespace, kind: str, out: Path | None, *, opset: str, batch: str
) -> "Exported":
    """Write a run's file, or another format of a model file, and show how it compares."""
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415

    source = Path(options.source)
    model = None if source.is_dir() else find_model(options.source)
    try:
        from tumorscope.export import FORMATS, export_run, newest_opset  # noqa: PLC0415  (torch)
        from tumorscope.export.rebuilt_network import unpack  # noqa: PLC0415
        from tumorscope.training.run_folder import RunFolder  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name or "torch") from None
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(source)
        if model:
            out = out or Path(FORMATS[kind].file.replace("model", model.stem))
            _check_out(out, model)
            run = unpack(model, Path(folder) / "run", options.data)
        exported = export_run(
            run,
            kind,
            out,
            opset=newest_opset() if opset == "newest" else _number(opset, "--opset", "newest"),
            batch=None if batch == "dynamic" else _number(batch, "--batch", "dynamic"),
            pixels=_pixels(options),
            data=options.data,
            name=options.name,
            check=not options.no_verify,
            progress=progress,
            origin="every other slice of --data" if model and options.data else None,
        )
    if options.json != "-":
        _say(exported, is_kept=not options.target)
    return exported


def _check_out(out: Path, model: Path) -> None:
    """Make sure that a model file is not written over itself.

    Raises:
        ModelError: It would be.
    """
    if out.resolve() == model.resolve():
        raise ModelError(f"{out}: is the model file itself; --out names another one")


def _refuse(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that would change nothing.

    Raises:
        ModelError: One was given.
    """
    usual = {"opset": str(OPSET), "batch": "dynamic"}
    for name in names:
        if getattr(options, name) != usual.get(name):
            raise ModelError(f"--{name.replace('_', '-')} changes nothing here: leave it out")


def _make_bundle(options: argparse.Namespace) -> "Bundle":
    """Write a bundle of a run or a model file."""
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.jetson import find_target, write_bundle  # noqa: PLC0415

    if options.input == "pixels":
        raise ModelError("a bundle prepares its slices itself: leave out --input")
    target, source = find_target(options.target), Path(options.source)
    _refuse(options, "input_size", "batch", "opset")
    formats = [_FORMATS[precision] for precision in target.precisions]
    own = None if source.is_dir() else _FORMATS[_precision(options.source)]
    kind = options.format or (own if own in formats else formats[0])
    if kind not in formats:
        raise ModelError(f"{target.name} takes the format {' or '.join(formats)}, not {kind}")
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model.onnx"
        if source.is_dir():
            out = options.out or source / target.name
            _export(options, kind, model, opset=str(OPSET), batch="1")
        else:
            out = options.out or Path(f"{source.stem}-{target.name}")
            if own == kind or kind == _FORMATS["fp16"]:
                _refuse(options, "name", "data")
            if own == kind:
                model = find_model(options.source)
            else:
                _convert(options, kind, model)
        bundle = write_bundle(model, target, out)
    if options.json != "-":
        _describe(bundle)
    return bundle


def _complete(options: argparse.Namespace) -> int:
    """Write a model file anew, with the preparation in front."""
    from tumorscope.files import write_bytes  # noqa: PLC0415
    from tumorscope.inference.complete_file import PixelSize, complete_file  # noqa: PLC0415
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415
    from tumorscope.inference.runtimes import open_runtime  # noqa: PLC0415

    source, pixels = find_model(options.source), _pixels(options) or PixelSize()
    out = options.out or Path(f"{source.stem}-complete.onnx")
    _check_out(out, source)
    if out.suffix != ".onnx":
        raise ModelError(f"{out}: an ONNX file ends in .onnx")
    _refuse(options, "name", "data", "batch", "opset")
    with tempfile.TemporaryDirectory() as folder:
        model, made = source, Path(folder) / "complete.onnx"
        if options.format and options.format != _FORMATS[_precision(options.source)]:
            model = Path(folder) / "model.onnx"
            _convert(options, options.format, model)
        complete_file(model, made, pixels)
        opened = open_runtime(made, providers=["cpu"])
        apart = None if options.no_verify else _apart(opened, source, pixels)
        write_bytes(out, made.read_bytes())
    _say_complete(options, source, out, apart)
    return 0


def _pack(options: argparse.Namespace) -> int:
    """Write a folder around a model file, with the preparation in front of it."""
    from tumorscope.inference.complete_file import PixelSize, complete_file  # noqa: PLC0415
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415

    try:
        from tumorscope.export.formats import PACKED, put  # noqa: PLC0415  (imports torch)
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name or "torch") from None
    _refuse(options, "name", "data", "batch", "opset")
    source, pixels = find_model(options.source), _pixels(options) or PixelSize()
    out, packing = options.out or Path(f"{source.stem}-{options.format}"), PACKED[options.format]
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
        complete, made = Path(folder) / ".complete.onnx", Path(folder) / out.name
        complete_file(source, complete, pixels)
        packing.write(complete, made)
        apart = None if options.no_verify else _apart(packing.open(made), source, pixels)
        put(made, out, Path(folder))
    _say_complete(options, source, out, apart)
    return 0


def _say_complete(
    options: argparse.Namespace, source: Path, out: Path, apart: float | None
) -> None:
    """Show what became of a model file that takes pixels now."""
    from tumorscope.inference.model_file import open_model  # noqa: PLC0415

    if options.json:
        write_json(options.json, {"path": str(out), "largest_difference": apart})
    if options.json != "-":
        found = ", not verified" if apart is None else f": within {apart:.1g} of {source.name}"
        title = open_model(source, providers=["cpu"]).facts.title
        console().print(f"written{found}: {out}, {title} for pixels")
        console().print(DISCLAIMER)


def _apart(complete: "Runtime", prepared: Path, pixels: "PixelSize") -> float:
    """Return the largest difference of a probability between two files' answers to phantoms.

    Raises:
        ModelError: It is larger than a file that takes pixels may have it.
    """
    import numpy as np  # noqa: PLC0415  (all of these: keeps --help fast)
    from PIL import Image  # noqa: PLC0415

    from tumorscope.classes import CLASSES  # noqa: PLC0415
    from tumorscope.images import prepare  # noqa: PLC0415
    from tumorscope.inference.runtimes import open_runtime  # noqa: PLC0415
    from tumorscope.phantoms.drawing import draw_phantom  # noqa: PLC0415
    from tumorscope.phantoms.outlines import PLANES  # noqa: PLC0415

    height, width = pixels.fixed or (192, 176)
    second = open_runtime(prepared, providers=["cpu"])
    differences = []
    for label in CLASSES:
        for plane in PLANES:
            drawn = draw_phantom(label, plane=plane, patient_seed=7, slice_number=2).image
            grey = np.array(Image.fromarray(drawn).resize((width, height)))
            inputs = prepare(grey, second.inputs[0].shape[-1] or 0)[None]
            said = complete.ask(grey[None].astype(np.float32)), second.run(inputs)
            given, expected = (answer["probabilities"] for answer in said)
            differences.append(np.abs(given - expected).max())
    apart = float(np.max(differences))  # (NaN, too)
    if not apart <= _APART:
        raise ModelError(
            f"{prepared.name}: with the preparation in front, a probability differs by "
            f"{apart:.2g}, and {_APART:g} is allowed"
        )
    return apart


def _convert(options: argparse.Namespace, kind: str, out: Path) -> None:
    """Write a model file in another format."""
    from tumorscope.inference.model_file import find_model, open_model  # noqa: PLC0415

    model = find_model(options.source)
    open_model(model, providers=["cpu"])  # (Says what is wrong with this file, not with the next.)
    if kind != _FORMATS["fp16"]:
        _export(options, kind, out, opset=str(OPSET), batch="1")
        return
    try:
        from tumorscope.export.fp16 import convert_file  # noqa: PLC0415  (needs onnx)
    except ModuleNotFoundError as error:
        raise MissingExtraError("train", error.name or "onnx") from None
    convert_file(model, out)


def _precision(source: str) -> str:
    """Return the precision of a model file."""
    from tumorscope.inference.model_file import find_model  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.inference.onnx_messages import read_model_file  # noqa: PLC0415
    from tumorscope.jetson.operators import precision_of  # noqa: PLC0415

    return precision_of(read_model_file(find_model(source)))


def _describe(bundle: "Bundle") -> None:
    out, cost = console(), bundle.estimate
    out.print(
        f"{bundle.model} for {bundle.target.name}: {bundle.size / 1e6:.1f} MB, "
        f"{cost.gigaflop:.2f} GFLOP and {cost.kernels} kernels a slice"
    )
    out.print(
        f"about {cost.milliseconds:.1f} ms a slice on a {bundle.target.board} at best: "
        "an estimate from its data sheet, not measured"
    )
    out.print(f"written: {bundle.path} and {bundle.archive}; README.md in it says how to go on")
    out.print(DISCLAIMER)


def _pixels(options: argparse.Namespace) -> "PixelSize | None":
    """Return which slices the file prepares itself."""
    from tumorscope.images.reading import MAXIMUM_PIXELS, MINIMUM_SIDE  # noqa: PLC0415
    from tumorscope.inference.complete_file import PixelSize  # noqa: PLC0415  (keeps --help fast)

    pixels = options.input == "pixels" or options.format in _PACKED
    if options.input_size is None:
        return PixelSize() if pixels else None
    if not pixels:
        raise ModelError("--input-size goes with --input pixels")
    match = re.fullmatch(r"([1-9]\d{1,4})x([1-9]\d{1,4})", options.input_size)
    if match is None:
        raise ModelError(f"--input-size is height and width, as 480x640, not {options.input_size}")
    height, width = int(match[1]), int(match[2])
    if min(height, width) < MINIMUM_SIDE or height * width > MAXIMUM_PIXELS:
        raise ModelError(
            f"--input-size takes sides of {MINIMUM_SIDE} pixels or more and "
            f"{MAXIMUM_PIXELS // 1_000_000} million pixels at the most, not {options.input_size}"
        )
    return PixelSize((height, width))


def _number(text: str, option: str, word: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ModelError(f"{option} takes a number or '{word}', not '{text}'") from None


def _say(exported: "Exported", *, is_kept: bool) -> None:
    out = console()
    found = exported.verification
    if found is not None:
        out.print(
            table(
                f"{exported.path.name} and the trained network on {found.images:,} images "
                f"({exported.origin})",
                ("", exported.format.name, "network"),
                _rows(found),
            )
        )
        out.print(f"allowed: {exported.tolerance}")
    if exported.origin == "phantoms":
        out.print(
            "Those are phantoms: the slices it learned from are not at hand; --data says where."
        )
    if exported.missing:
        out.print(f"not for a Jetson Nano: TensorRT 8.2 has no {', '.join(exported.missing)}")
    if is_kept:
        out.print(f"{'written' if found else 'written, not verified'}: {exported.path}")
        out.print(DISCLAIMER)


def _rows(found: "Verification") -> list[tuple[str, str, str]]:
    rows = [
        ("runtime", found.runtime, "PyTorch"),
        ("accuracy", f"{found.accuracy:.2%}", f"{found.network_accuracy:.2%}"),
        ("same label", f"{found.label_agreement:.2%}", ""),
        ("largest probability difference", f"{found.largest_difference:.1e}", ""),
        ("mean probability difference", f"{found.mean_difference:.1e}", ""),
        (
            "milliseconds, one image",
            f"{found.milliseconds:.2f}",
            f"{found.network_milliseconds:.2f}",
        ),
        ("megabytes", f"{found.size / 1e6:.2f}", f"{found.network_size / 1e6:.2f}"),
    ]
    if found.heatmap_difference is not None:
        rows.insert(5, ("largest heatmap difference", f"{found.heatmap_difference:.1%}", ""))
    return rows
