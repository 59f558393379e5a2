"""The formats of model files: each is written, verified, or not left at all."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final

import onnx

from tumorscope.datasets.catalogue import Slice
from tumorscope.errors import DataError, ModelError
from tumorscope.export.fp16 import to_fp16
from tumorscope.export.litert_file import litert_metadata, open_litert, write_litert
from tumorscope.export.metadata import metadata_of, to_text
from tumorscope.export.monai_bundle import open_monai_bundle, write_monai_bundle
from tumorscope.export.onnx_file import EDGE_OPSET, build_onnx, save_onnx
from tumorscope.export.openvino_folder import write_openvino
from tumorscope.export.quantization import CALIBRATION_IMAGES, quantize
from tumorscope.export.samples import Sample, draw_sample, find_slices, read_sample
from tumorscope.export.tensorrt_engine import write_engine
from tumorscope.export.torchscript_file import export_torchscript
from tumorscope.export.triton_repository import open_triton, write_triton
from tumorscope.export.verification import Tolerance, Verification, verify
from tumorscope.inference.complete_file import PixelSize, complete_file
from tumorscope.inference.runtimes import Opener
from tumorscope.jetson.operators import unsupported_operators
from tumorscope.progress import Progress, silent
from tumorscope.training.run_folder import RunFolder
from tumorscope.training.trained_network import TrainedNetwork, load_weights


@dataclass(frozen=True, kw_only=True)
class Order:
    """What a format's writer needs to know.

    Attributes:
        run: The run.
        trained: Its network.
        opset: ONNX operator set.
        batch: Fixed number of images a call; None for any.
        pixels: What pictures the file prepares itself; None where its input is prepared.
        data: Where the run's data sets are now; None: where they were.
        name: What the model is called; None: after its recipe.
        progress: Shows how far the reading is.
    """

    run: RunFolder
    trained: TrainedNetwork
    opset: int
    batch: int | None
    pixels: PixelSize | None
    data: Sequence[Path] | None
    name: str | None
    progress: Progress

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """What the file says about itself."""
        return metadata_of(self.run, self.trained, name=self.name)

    @cached_property
    def model(self) -> onnx.ModelProto:
        """The network as ONNX, in float32."""
        return build_onnx(self.trained, opset=self.opset, batch=self.batch)

    @cached_property
    def slices(self) -> Mapping[str, list[Slice]]:
        """The run's slices by part, as far as they are at hand."""
        return find_slices(self.run, self.data, progress=self.progress)

    def save(self, model: onnx.ModelProto, path: Path) -> None:
        """Write a model as an ONNX file, with the preparation in front where pixels go in."""
        save_onnx(model, self.metadata, path)
        if self.pixels:
            complete_file(path, path, self.pixels)

    def sample(self, part: str, limit: int | None = None) -> Sample:
        """Read slices of a part of the run's data."""
        return read_sample(
            self.slices[part],
            self.trained.description,
            origin=f"the run's {part} slices",
            limit=limit,
            progress=self.progress,
        )


@dataclass(frozen=True)
class Packing:
    """A folder around a file that takes pixels.

    Attributes:
        write: Writes the folder, from the file and the folder's path.
        open: Opens it.
    """

    write: Callable[[Path, Path], None]
    open: Opener


PACKED: Final = {
    "triton": Packing(write_triton, open_triton),
    "monai-bundle": Packing(write_monai_bundle, open_monai_bundle),
}
"""The formats that are such a folder, by name."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A kind of model file.

    Attributes:
        name: What `--format` says.
        file: What the file is called unless told otherwise; its ending is the format's.
        write: Writes the file.
        tolerance: How far it may be from the trained network; None where its input is always
            pixels.
        complete: The same where the file prepares its input itself, whose roundings may differ;
            None where it cannot.
        open: Opens the file; None: what opens files of its kind.
    """

    name: str
    file: str
    write: Callable[[Order, Path], object]
    tolerance: Tolerance | None = None
    complete: Tolerance | None = None
    open: Opener | None = None

    def tolerance_for(self, pixels: PixelSize | None) -> Tolerance:
        """Return how far a file may be from the network.

        Args:
            pixels: What pictures it prepares itself; None where its input is prepared.

        Raises:
            ModelError: There is no such file of this format.
        """
        tolerance = self.complete if pixels else self.tolerance
        if tolerance is None:
            able = ", ".join(item.name for item in FORMATS.values() if item.complete)
            raise ModelError(
                f"a file of format {self.name} takes prepared inputs; pixels take: {able}"
            )
        return tolerance


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model file that was written.

    Attributes:
        path: The file or folder.
        format: Its format.
        tolerance: How far it may be from the trained network.
        verification: How it compares with the trained network; None where nobody looked.
        origin: What images were compared, in plain words.
        missing: What TensorRT 8.2 (Jetson Nano) cannot read in it: see `unsupported_operators`.
    """

    path: Path
    format: Format
    tolerance: Tolerance
    verification: Verification | None
    origin: str
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Return everything by name."""
        return {
            "path": str(self.path),
            "format": self.format.name,
            "tolerance": str(self.tolerance),
            "images": self.origin,
            "missing_in_tensorrt_8_2": list(self.missing),
            "verification": self.verification and self.verification.to_json(),
        }


def export_run(  # noqa: PLR0913  (what the command's options say)
    run: RunFolder,
    format: str,  # noqa: A002  (what the command's option is called)
    out: Path | None = None,
    *,
    opset: int = EDGE_OPSET,
    batch: int | None = None,
    pixels: PixelSize | None = None,
    data: Sequence[Path] | None = None,
    name: str | None = None,
    check: bool = True,
    origin: str | None = None,
    progress: Progress = silent,
) -> Exported:
    """Write a run's network in a format, and let the file and the network answer the same images.

    Args:
        run: A finished run.
        format: A name in `FORMATS`.
        out: The file or folder; in the run's folder when left out.
        opset: ONNX operator set, from 13 to `newest_opset()`.
        batch: Fixed number of images a call, or None for any; TorchScript has no fixed one, LiteRT
            always: one.
        pixels: What pictures the file prepares itself, one a call; None where its input is what
            `prepare` returns, or of any size in a format that always takes pixels.
        data: Where the run's data sets are now; None: where they were. They are needed to
            calibrate `onnx-int8`. Without them a file is compared on phantoms.
        name: What the model is called; `tumorscope-` and the recipe's name when left out.
        check: Whether to compare the file with the network.
        origin: What the slices that they are compared on are called; the run's validation slices
            when left out.
        progress: Shows how far the reading is.

    Returns:
        What was written.

    Raises:
        ModelError: The run is not finished, an argument does not fit the format, other files
            stand where the folder would, or the file differs from the network by more than the
            format's tolerance: then none is left.
        DataError: The run's data is needed and gone.
        MissingExtraError: The format needs a package that is not installed.
    """
    kind = FORMATS.get(format)
    if kind is None:
        raise ModelError(f"no format '{format}': it is one of {', '.join(FORMATS)}")
    if format == "torchscript" and (batch is not None or opset != EDGE_OPSET):
        raise ModelError("a TorchScript file takes any batch and has no operator set")
    if format.startswith("litert") and opset != EDGE_OPSET:
        raise ModelError("a LiteRT file has no operator set")
    if kind.tolerance is None:
        pixels = pixels or PixelSize()
    tolerance = kind.tolerance_for(pixels)
    if pixels and batch not in (None, 1):
        raise ModelError(f"a file that takes pixels answers one slice a call, not {batch}")
    target = out or run.path / (kind.file.replace("model", "complete") if pixels else kind.file)
    if target.suffix != Path(kind.file).suffix:
        wanted = Path(kind.file).suffix or "no ending, it is a folder"
        raise ModelError(f"{target}: a file of format {format} ends in {wanted}")
    trained = load_weights(run.weights_file)
    order = Order(
        run=run,
        trained=trained,
        opset=opset,
        batch=batch,
        pixels=pixels,
        data=data,
        name=name,
        progress=progress,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.") as folder:
        made = Path(folder) / target.name
        kind.write(order, made)
        verification, compared = None, ""
        if check:
            sample = _verification_sample(order, origin)
            if pixels and pixels.fixed:
                sample = sample.resized(*pixels.fixed)
            picture = sample.picture if pixels else None
            verification = verify(
                trained, made, sample.grey, sample.labels, picture=picture, opener=kind.open
            )
            compared = sample.origin
            verification.check(tolerance, f"{target.name} on {compared}")
        missing = unsupported_operators(onnx.load(made)) if made.suffix == ".onnx" else []
        put(made, target, Path(folder))
    return Exported(
        path=target,
        format=kind,
        tolerance=tolerance,
        verification=verification,
        origin=compared,
        missing=tuple(missing),
    )


def _verification_sample(order: Order, origin: str | None) -> Sample:
    """Read the run's validation slices; where they are gone, draw phantoms."""
    try:
        sample = order.sample("validation")
    except DataError:
        if order.data is not None:
            raise
        return draw_sample(order.trained.description)
    return replace(sample, origin=origin or sample.origin)


def put(made: Path, target: Path, folder: Path) -> None:
    """Move what was made to its place; an earlier one that stands there goes first.

    Args:
        made: A file or folder.
        target: Its place.
        folder: Takes up the earlier one, and is deleted by the caller.

    Raises:
        ModelError: A folder stands there where a file goes or the other way round, or a folder that
            holds other things, too.
    """
    if target.is_file() and made.is_dir():
        raise ModelError(f"{target}: is a file, and a folder is written: name another")
    if target.is_dir():
        if not made.is_dir():
            raise ModelError(f"{target}: is a folder, and a file is written: name another")
        others = _inside(target) - _inside(made)
        if others:
            raise ModelError(f"{target}: holds '{min(others)}', too: name another folder")
        target.rename(folder / "old")
    made.replace(target)


def _inside(folder: Path) -> set[str]:
    """Return what a folder holds, but for what Python compiles there."""
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {path.as_posix() for path in found if "__pycache__" not in path.parts}


def _write_onnx(order: Order, path: Path) -> None:
    order.save(order.model, path)


def _write_half(order: Order, path: Path) -> None:
    keep = order.trained.network.keep_fp32.get(16, ())
    order.save(to_fp16(order.model, keep_fp32=keep), path)


def _write_int8(order: Order, path: Path, *, signed: bool = False) -> None:
    images = order.sample("train", CALIBRATION_IMAGES)
    model = build_onnx(order.trained, opset=order.opset)
    keep = order.trained.network.keep_fp32.get(8, ())
    quantized = quantize(model, images.grey, signed=signed, batch=order.batch, keep_fp32=keep)
    order.save(quantized, path)


def _write_torchscript(order: Order, path: Path) -> None:
    export_torchscript(order.run, path, name=order.name)


def _write_openvino(order: Order, path: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        order.save(order.model, file)
        write_openvino(onnx.load(file), path)


def _write_litert(order: Order, path: Path, *, quantized: bool = False) -> None:
    classes = order.trained.description.classes
    write_litert(
        order.trained,
        litert_metadata(to_text(order.metadata), classes),
        path,
        batch=order.batch,
        calibration=order.sample("train", CALIBRATION_IMAGES).grey if quantized else None,
    )


def _write_packed(order: Order, path: Path, *, name: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        order.save(order.model, file)
        PACKED[name].write(file, path)


def _write_tensorrt(order: Order, path: Path) -> None:
    write_engine(order.model, path)


FORMATS: Final = {
    item.name: item
    for item in (
        Format(
            name="onnx",
            file="model.onnx",
            tolerance=Tolerance(probability=1e-4),
            write=_write_onnx,
            complete=Tolerance(probability=1e-3),
        ),
        Format(
            name="onnx-fp16",
            file="model-fp16.onnx",
            tolerance=Tolerance(probability=1e-2),
            write=_write_half,
            complete=Tolerance(probability=1e-2),
        ),
        Format(
            name="onnx-int8",
            file="model-int8.onnx",
            tolerance=Tolerance(accuracy=0.003),
            write=_write_int8,
            complete=Tolerance(accuracy=0.003),
        ),
        Format(
            name="onnx-int8-signed",
            file="model-int8-signed.onnx",
            tolerance=Tolerance(accuracy=0.003),
            write=partial(_write_int8, signed=True),
            complete=Tolerance(accuracy=0.003),
        ),
        Format(
            name="torchscript",
            file="model.torchscript",
            tolerance=Tolerance(probability=1e-4),
            write=_write_torchscript,
        ),
        Format(
            name="openvino",
            file="model_openvino",
            tolerance=Tolerance(probability=1e-4),
            write=_write_openvino,
            complete=Tolerance(probability=1e-3),
        ),
        Format(
            name="tensorrt",
            file="model.engine",
            # TensorRT multiplies in TF32, with ten bits after the point, where the GPU has it.
            tolerance=Tolerance(probability=1e-2),
            write=_write_tensorrt,
        ),
        Format(
            name="litert",
            file="model.tflite",
            write=_write_litert,
            tolerance=Tolerance(probability=1e-4),
            open=open_litert,
        ),
        Format(
            name="litert-int8",
            file="model-int8.tflite",
            write=partial(_write_litert, quantized=True),
            tolerance=Tolerance(accuracy=0.003),
            open=open_litert,
        ),
        *(
            Format(
                name=name,
                file=name.replace("-", "_"),
                write=partial(_write_packed, name=name),
                complete=Tolerance(probability=1e-3),
                open=packing.open,
            )
            for name, packing in PACKED.items()
        ),
    )
}
"""The formats by name."""
