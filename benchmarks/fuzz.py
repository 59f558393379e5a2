"""Measures what `tumorscope predict` does with damaged phantoms in every format.

    python benchmarks/fuzz.py [--model M] [--files 10000] [--seed 1] [--formats zip,dicom]

writes `results/fuzz.json` after each format; what it says of others stays. Each file is read twice:
in a process that times each file and counts exceptions, and by the command itself, whose output
must name every file. Half of the compressed NIfTI files are damaged before they are compressed,
half of the PNG files get valid check sums.
"""

import argparse
import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from record import RESULTS, checked_out, read_record, write_record
from tumorscope.inference import DEFAULT_MODEL, Classifier, Failure, Prediction
from tumorscope.phantoms.drawing import draw_phantom

FORMATS = (
    *("jpeg", "png", "tiff", "bmp", "gif", "webp", "dicom", "nifti", "mgh", "analyze", "nrrd"),
    *("metaimage", "zip"),
)
SECONDS = 2.0
"""Reading a file for longer counts as a hang."""

TIMEOUT = 3600


def main() -> None:
    """Damage files, read them, write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--files", type=int, default=10_000, help="damaged files a format")
    parser.add_argument("--seed", type=int, default=1, help="what the damage depends on")
    parser.add_argument("--formats", default=",".join(FORMATS), help="which formats")
    parser.add_argument("--watch", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        watch(options.model, options.watch)
        return
    for name in options.formats.split(","):
        whole = originals(name)
        with tempfile.TemporaryDirectory() as folder:
            names = write_damaged(whole, Path(folder), options.files, options.seed)
            found = {**timed(options.model, folder), **by_command(options.model, names)}
        print(name, json.dumps(found))
        print(write_figures(name, found, files=options.files, seed=options.seed))


def write_figures(
    name: str, found: dict[str, object], *, files: int, seed: int, commit: str = ""
) -> Path:
    """Put the figures of a format into the record, with what they were measured on."""
    figures = read_record("fuzz")["figures"] if (RESULTS / "fuzz.json").is_file() else {}
    figures[name] = {"files": files, "seed": seed, "commit": commit or checked_out(), **found}
    fingerprint = hashlib.sha256()
    for form in FORMATS:
        for content in originals(form).values():
            fingerprint.update(content)
    return write_record(
        "fuzz",
        command="python benchmarks/fuzz.py",
        figures=figures,
        seeds=sorted({part["seed"] for part in figures.values()}),
        n=sum(part["files"] for part in figures.values()),
        data_fingerprint=fingerprint.hexdigest(),
    )


def originals(name: str) -> dict[str, bytes]:
    """Return undamaged files of a format, by an ending that keeps them apart."""
    grey = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2).image
    if name == "jpeg":
        return {
            "grey.jpg": picture(grey, "JPEG", quality=95),
            "progressive.jpg": picture(grey, "JPEG", quality=80, progressive=True),
            "colour.jpg": picture(np.stack([grey] * 3, axis=-1), "JPEG"),
        }
    if name == "png":
        return {
            "grey.png": picture(grey, "PNG"),
            "deep.png": picture(grey.astype(np.uint16) * 16, "PNG"),
            "palette.png": picture(grey, "PNG", mode="P"),
            "clear.png": picture(np.stack([grey] * 4, axis=-1), "PNG"),
        }
    if name == "tiff":
        return {
            "grey.tif": picture(grey, "TIFF"),
            "deep.tif": picture(grey.astype(np.uint16) * 16, "TIFF", compression="tiff_lzw"),
            "colour.tif": picture(np.stack([grey] * 3, -1), "TIFF", compression="tiff_deflate"),
        }
    if name in ("bmp", "gif", "webp"):
        return {f"grey.{name}": picture(grey, name.upper())}
    if name == "zip":
        return zip_files(grey)
    return dicom_files(grey) if name == "dicom" else volume_files(name)


def picture(array: NDArray[np.generic], form: str, mode: str | None = None, **how: object) -> bytes:
    """Return an array as a picture file."""
    image = Image.fromarray(array)
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, form, **how)
    return buffer.getvalue()


def dicom_files(grey: NDArray[np.uint8]) -> dict[str, bytes]:
    """Return a phantom as DICOM files in several compressions, and one of several frames."""
    deep = grey.astype(np.uint16) * 16
    lossless = picture(grey, "JPEG2000", irreversible=False, no_jp2=True)
    return {
        "plain.dcm": dicom(deep, WindowCenter=1500, WindowWidth=3000),
        "frames.dcm": dicom(np.stack([deep[::2, ::2]] * 4)),
        "rle.dcm": dicom(deep, compress=RLELossless),
        "jls.dcm": dicom(deep, compress=JPEGLSLossless),
        "j2k.dcm": dicom(grey, JPEG2000Lossless, encapsulate([lossless])),
        "jpeg.dcm": dicom(grey, JPEGBaseline8Bit, encapsulate([picture(grey, "JPEG")])),
    }


def dicom(
    pixels: NDArray[np.uint8] | NDArray[np.uint16],
    syntax: UID = ExplicitVRLittleEndian,
    content: bytes = b"",
    compress: str = "",
    **tags: object,
) -> bytes:
    """Return pixels as a DICOM file with further tags."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = UID("1.2.3")
    dataset.Modality = "MR"
    dataset.Rows, dataset.Columns = pixels.shape[-2:]
    if pixels.ndim == 3:
        dataset.NumberOfFrames = len(pixels)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 * pixels.itemsize
    dataset.BitsStored = 8 if pixels.itemsize == 1 else 12
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.PixelSpacing = [0.9, 0.9]
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.PixelData = content or pixels.tobytes()
    dataset["PixelData"].VR = "OW" if pixels.itemsize == 2 else "OB"
    if compress:
        dataset.compress(compress)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def zip_files(grey: NDArray[np.uint8]) -> dict[str, bytes]:
    """Return an archive of two DICOM files and a picture, stored and compressed."""
    inside = {**dicom_files(grey), "grey.png": picture(grey, "PNG")}
    whole = {}
    for name, kind in (("packed.zip", zipfile.ZIP_DEFLATED), ("stored.zip", zipfile.ZIP_STORED)):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for inner in ("plain.dcm", "jls.dcm", "grey.png"):
                archive.writestr(f"exam/{inner}", inside[inner])
        whole[name] = buffer.getvalue()
    return whole


def volume_files(name: str) -> dict[str, bytes]:
    """Return a volume of phantoms as files of a format."""
    slices = [
        draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=number, size=96).image
        for number in range(4)
    ]
    volume = np.stack(slices, axis=-1).transpose(1, 0, 2)[:, ::-1]
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    whole = nibabel.Nifti1Image(volume.astype(np.int16), affine).to_bytes()
    voxels = volume.astype("<i2").tobytes(order="F")
    if name == "nifti":
        newer = nibabel.Nifti2Image(volume.astype(np.float32), affine).to_bytes()
        return {"plain.nii": whole, "newer.nii": newer, "packed.nii.gz": gzip.compress(whole)}
    if name == "mgh":
        plain = nibabel.MGHImage(volume.astype(np.int16), affine.astype(np.float32)).to_bytes()
        return {"plain.mgh": plain, "packed.mgz": gzip.compress(plain)}
    if name == "analyze":  # (The header is damaged; `write_damaged` puts whole voxels beside it.)
        return {"pair.hdr": whole[:344] + b"ni1\0" + bytes(4)}
    if name == "nrrd":
        text = "NRRD0004\ntype: short\ndimension: 3\nsizes: 96 96 4\nendian: little\n"
        text += "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,4)\n"
        return {
            "plain.nrrd": f"{text}encoding: raw\n\n".encode() + voxels,
            "packed.nrrd": f"{text}encoding: gzip\n\n".encode() + gzip.compress(voxels),
        }
    text = "ObjectType = Image\nNDims = 3\nDimSize = 96 96 4\nElementType = MET_SHORT\n"
    text += "ElementSpacing = 1 1 4\nCompressedData = {}\nElementDataFile = LOCAL\n"
    return {
        "plain.mha": text.format("False").encode() + voxels,
        "packed.mha": text.format("True").encode() + zlib.compress(voxels),
    }


def write_damaged(whole: dict[str, bytes], folder: Path, count: int, seed: int) -> list[Path]:
    """Write so many damaged copies; each file in turn, each damaged in its own way."""
    paths = []
    kinds = list(whole)
    for number in range(count):
        chance = random.Random(f"{seed} {number}")  # noqa: S311  (no secret)
        kind = kinds[number % len(kinds)]
        content = whole[kind]
        if kind.endswith(".gz") and chance.random() < 0.5:
            damaged = gzip.compress(damage(gzip.decompress(content), chance), mtime=0)
        else:
            damaged = damage(content, chance)
        if kind.endswith(".png") and chance.random() < 0.5:
            damaged = with_valid_sums(damaged)
        paths.append(folder / f"{number:05}_{kind}")
        paths[-1].write_bytes(damaged)
        if kind == "pair.hdr":
            paths[-1].with_suffix(".img").write_bytes(bytes(range(256)) * 290)
    return paths


def damage(content: bytes, chance: random.Random) -> bytes:
    """Return a copy with changed bytes (headers more often), pieces lost, doubled or moved."""
    bytes_ = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16, 64))):
        end = min(len(bytes_), chance.choice((64, 512, 2048, len(bytes_))))
        if end == 0:
            break
        start = chance.randrange(end)
        length = chance.choice((1, 1, 1, 2, 4, 32))
        what = chance.randrange(10)
        if what < 5:
            bytes_[start : start + length] = chance.randbytes(length)
        elif what < 7:
            value = chance.choice((0x00, 0x01, 0x7F, 0x80, 0xFF))
            bytes_[start : start + length] = bytes([value]) * length
        elif what == 7:
            del bytes_[start : start + length]
        elif what == 8:
            bytes_[start:start] = bytes_[chance.randrange(len(bytes_)) :][:length]
        elif chance.random() < 0.3:
            del bytes_[start if chance.random() < 0.2 else chance.randrange(len(bytes_)) :]
    return bytes(bytes_)


def with_valid_sums(png: bytes) -> bytes:
    """Return a PNG file whose chunks have the check sums of what is in them now."""
    bytes_, position = bytearray(png), 8
    while position + 12 <= len(bytes_):
        end = position + 8 + int.from_bytes(bytes_[position : position + 4])
        bytes_[end : end + 4] = zlib.crc32(bytes_[position + 4 : end]).to_bytes(4)
        position = end + 4
    return bytes(bytes_[: len(png)])


def watch(model: str, folder: Path) -> None:
    """Read each file of a folder and print what happened, a JSON object a line."""
    classifier = Classifier.load(model, threads=1)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".img":
            continue
        print(path, file=sys.stderr, flush=True)
        start = time.perf_counter()
        try:
            answers = list(classifier.stream([path]))
            named = bool(answers) and all(answer.path.startswith(str(path)) for answer in answers)
            failed = any(isinstance(answer, Failure) and answer.error for answer in answers)
            refused = any(isinstance(a, Prediction) and a.label is None for a in answers)
            what = "failed" if failed else "unsupported" if refused else "judged"
            if not named:
                what = "unnamed"
        except Exception as error:  # noqa: BLE001  (this is what is looked for)
            what = f"exception {type(error).__name__}"
        print(json.dumps({"what": what, "seconds": time.perf_counter() - start}), flush=True)


def timed(model: str, folder: str) -> dict[str, object]:
    """Read the files in a process of their own; return counts, the slowest file and the memory."""
    command = [sys.executable, __file__, "--model", model, "--watch", folder]
    output, errors, status, memory = measured(command)
    if status != 0:
        last = errors.splitlines()[-1] if errors else ""
        raise SystemExit(f"the process ended with status {status}; last: {last}")
    lines = [json.loads(line) for line in output.splitlines()]
    counts = Counter(line["what"] for line in lines)
    return {
        **{name: counts.pop(name, 0) for name in ("judged", "unsupported", "failed")},
        "exceptions": dict(counts),
        "slowest_seconds": round(max(line["seconds"] for line in lines), 2),
        "hangs": sum(line["seconds"] > SECONDS for line in lines),
        "peak_memory_mib": memory,
    }


def by_command(model: str, paths: list[Path]) -> dict[str, object]:
    """Let the command read the same files; return how it ended and how many it did not name."""
    code = "from tumorscope.cli.main import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", code, "predict", "--jsonl", "--model", model]
    output, errors, status, memory = measured([*command, str(paths[0].parent)])
    named = {json.loads(line)["path"] for line in output.splitlines()}
    named |= {name.partition(".zip/")[0] + ".zip" for name in named if ".zip/" in name}
    return {
        "command_status": status,
        "command_lines_on_stderr": len(errors.splitlines()),
        "command_tracebacks": errors.count("Traceback"),
        "command_unnamed_files": sum(str(path) not in named for path in paths),
        "command_peak_memory_mib": memory,
    }


def measured(command: list[str]) -> tuple[str, str, int, int]:
    """Run a command; return its output, its errors, its status and its peak memory in MiB."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors)
        deadline = time.monotonic() + TIMEOUT
        while True:
            ended, state, usage = os.wait4(process.pid, os.WNOHANG)
            if ended:
                break
            if time.monotonic() > deadline:
                process.kill()
            time.sleep(0.05)
        output.seek(0)
        errors.seek(0)
        memory = round(usage.ru_maxrss / 1024)
        return output.read(), errors.read(), os.waitstatus_to_exitcode(state), memory


if __name__ == "__main__":
    main()
