"""Malformed requests come in, what the service answered and whether it lived go out as a record.

    python benchmarks/serve_fuzz.py [--model M] [--damaged 400]

writes `results/serve_fuzz.json`. Requests are made by hand (damaged files, cut and oversized
bodies, packed traps, path names in file names, what is no HTTP) and by schemathesis from the API's
own description. None may be answered with a status of 500 or more, and no file's name may stand in
the log.
"""

import argparse
import contextlib
import gzip
import hashlib
import io
import json
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, JPEGLSLossless

from fuzz import FORMATS, damage, originals, with_valid_sums
from fuzz import dicom as dicom_file
from record import write_record
from serve_load import resident, service
from tumorscope.inference import DEFAULT_MODEL

SEED = 0
MARK = "tumorscope-fuzz"
SECRET = "Mustermann"  # noqa: S105  (a name that must not be in the log)
LIMIT = 8_000_000
EXAMPLES = 60
PATIENCE = {"cut and oversized bodies": 2.0, "no HTTP": 1.0}
"""Seconds to wait for the answer to what may be no whole request."""

OPERATIONS = (
    "/v1/classify",
    "/v1/classify?heatmap=png&picture=png",
    "/v1/classify/volume?heatmap=png&picture=png",
)


def main() -> None:
    """Send everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--damaged", type=int, default=400, help="damaged files")
    options = parser.parse_args()
    statuses: dict[str, Counter[str]] = {}
    fingerprint = hashlib.sha256()
    slowest, peak = 0.0, 0.0
    with service(options.model, more=("--max-body", str(LIMIT // 1_000_000))) as (port, process):
        for kind, raw in requests(options.damaged):
            fingerprint.update(raw)
            start = time.perf_counter()
            status = exchange(port, raw, patience=PATIENCE.get(kind, 90.0))
            slowest = max(slowest, time.perf_counter() - start)
            statuses.setdefault(kind, Counter())[status] += 1
            peak = max(peak, resident(process.pid))
            if process.poll() is not None:
                raise SystemExit(f"the service died of {kind}: {raw[:300]!r}")
        before = answered(port)
        with tempfile.TemporaryDirectory() as folder:  # (It leaves a cache where it runs.)
            by_schema = subprocess.run(
                schemathesis(port), check=False, stdout=subprocess.DEVNULL, cwd=folder
            )
        made = answered(port) - before
        statuses["schemathesis"] = Counter({key: made[key] for key in sorted(made)})
        alive = exchange(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n") == "200"
        log = Path(f"/proc/{process.pid}/fd/2").read_text(errors="replace")
    total = sum(statuses.values(), Counter())
    figures = {
        "requests": total.total(),
        "server_errors": sum(count for status, count in total.items() if status.startswith("5")),
        "lives": alive,
        "names_in_the_log": log.count(SECRET),
        "errors_in_the_log": len(re.findall(r" at .+:\d+$", log, re.MULTILINE)),
        "schemathesis_found_nothing": by_schema.returncode == 0,
        "slowest_seconds": round(slowest, 2),
        "peak_memory_mib": round(peak),
        "statuses": {kind: dict(counts) for kind, counts in statuses.items()},
    }
    print(json.dumps(figures, indent=2))
    path = write_record(
        "serve_fuzz",
        command="python benchmarks/serve_fuzz.py",
        figures=figures,
        seeds=[SEED],
        n=total.total(),
        data_fingerprint=fingerprint.hexdigest(),
    )
    print(path)


def requests(damaged: int) -> Iterator[tuple[str, bytes]]:
    """Yield requests with what they are."""
    yield from (("damaged files", raw) for raw in damaged_files(damaged))
    yield from (("cut and oversized bodies", raw) for raw in cut_bodies())
    yield from (("packed traps", raw) for raw in traps())
    yield from (("names", raw) for raw in odd_names())
    yield from (("parameters", raw) for raw in odd_parameters())
    yield from (("no HTTP", raw) for raw in no_http())


def damaged_files(count: int) -> Iterator[bytes]:
    """Yield requests with files that were changed, cut, or packed after it."""
    whole = [item for name in FORMATS for item in originals(name).items()]
    for number in range(count):
        chance = random.Random(f"{SEED} {number}")  # noqa: S311  (no secret)
        name, content = whole[number % len(whole)]
        broken = damage(content, chance)
        if name.endswith(".gz") and chance.random() < 0.5:
            broken = gzip.compress(damage(gzip.decompress(content), chance), mtime=0)
        if name.endswith(".png") and chance.random() < 0.5:
            broken = with_valid_sums(broken)
        yield post(OPERATIONS[number % len(OPERATIONS)], (f"{SECRET}_{name}", broken))


def cut_bodies() -> Iterator[bytes]:
    """Yield requests that end too early, never end, lie of their length, or are too long."""
    good = post(OPERATIONS[0], ("a.png", originals("png")["grey.png"]))
    start = good.index(b"\r\n\r\n") + 4
    head, body = good[:start], good[start:]
    for share in range(1, 20):
        yield good[: start + share * len(body) // 20]
        cut = body[: share * len(body) // 20]
        yield re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(cut), head) + cut
    for length in (b"-1", b"abc", b"1e9", b"99999999999999999999", b"0", b"1", b""):
        yield re.sub(rb"Content-Length: \d+", b"Content-Length: " + length, head) + body
    chunked = re.sub(rb"Content-Length: \d+", b"Transfer-Encoding: chunked", head)
    for chunk in (b"zz\r\n", b"-5\r\n", b"ffffffffffffffff\r\n", b"5\r\nabc", b"0\r\n\r\n"):
        yield chunked + chunk
    yield chunked + (b"10000\r\n" + bytes(65536) + b"\r\n") * 140 + b"0\r\n\r\n"
    yield post(OPERATIONS[0], ("a.png", bytes(LIMIT)))
    yield post(OPERATIONS[0], *((f"{number}.png", b"") for number in range(2100)))
    for boundary in (b"", b"boundary=", b'boundary="', b"boundary=" + b"x" * 200, b"boundary=\xff"):
        yield re.sub(rb"boundary=[\w-]+", boundary, head) + body
    for kind in (b"text/plain", b"application/json", b"multipart/mixed", b"\xff", b""):
        yield re.sub(rb"multipart/form-data; boundary=[\w-]+", kind, head) + body


def traps() -> Iterator[bytes]:
    """Yield requests with small files that say, or unpack to, far too much."""
    zeros = gzip.compress(bytes(400_000_000), compresslevel=9)
    image = nibabel.Nifti1Image(np.zeros((64, 64, 64), np.int16), np.eye(4))
    header = bytearray(image.to_bytes()[:352])
    files = {"zeros.nii.gz": zeros, "zeros.nii": zeros, "zeros.png": zeros, "zeros.dcm": zeros}
    for side in (600, 4096, 32767):
        struct.pack_into("<8h", header, 40, 3, side, side, side, 1, 1, 1, 1)
        files[f"huge{side}.nii.gz"] = gzip.compress(bytes(header)) + zeros
        files[f"huge{side}.nii"] = bytes(header)
    struct.pack_into("<8h", header, 40, 3, 64, 64, 64, 1, 1, 1, 1)
    for offset in (3e9, 1e30, -352.0, float("nan")):
        struct.pack_into("<f", header, 108, offset)
        files[f"far{offset}.nii.gz"] = gzip.compress(bytes(header)) + zeros
    for side in (7000, 30000, 2**31 - 1):
        files[f"{side}.png"] = png_bomb(side)
    for keyword in (b"zTXt", b"iCCP"):
        text = b"x\0\0" + zlib.compress(bytes(200_000_000), 9)
        files[f"{keyword.decode()}.png"] = with_chunk(keyword, text)
    grey = np.zeros((64, 64), np.uint8)
    files["rows.dcm"] = dicom_file(grey, Rows=65535, Columns=65535)
    files["frames.dcm"] = dicom_file(grey, NumberOfFrames=2**31 - 1)
    packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    deflated = packer.compress(bytes(400_000_000)) + packer.flush()
    plain = dicom_file(grey, UID(DeflatedExplicitVRLittleEndian), bytes(grey))
    files["deflated.dcm"] = plain[:400] + deflated
    spiff = (
        b"\xff\xd8\xff\xf7\0\x0b\x08\xff\xff\xff\xff\x01\x01\x11\0\xff\xda\0\x08\x01\x01\0\0\0\0\0"
    )
    files["jls.dcm"] = dicom_file(grey, UID(JPEGLSLossless), encapsulated(spiff))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../scan.png", bytes(100_000_000))
    files["bomb.zip"] = files["zip.png"] = files["zip.nii.gz"] = buffer.getvalue()
    for operation in OPERATIONS[1:]:
        for name, content in files.items():
            yield post(operation, (name, content))


def encapsulated(frame: bytes) -> bytes:
    """Return pixel data of one compressed frame."""
    frame += b"\0" * (len(frame) % 2)
    return (
        b"\xfe\xff\x00\xe0\0\0\0\0\xfe\xff\x00\xe0" + struct.pack("<I", len(frame)) + frame
        + b"\xfe\xff\xdd\xe0\0\0\0\0"
    )  # fmt: skip


def png_bomb(side: int) -> bytes:
    """Return a PNG file that says it has so many rows and columns."""
    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return with_chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9), head)


def with_chunk(kind: bytes, content: bytes, head: bytes = b"") -> bytes:
    """Return a PNG file with a chunk behind its header."""
    head = head or struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(65 * 64))
    chunks = ((b"IHDR", head), (kind, content), (b"IDAT", rows), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def odd_names() -> Iterator[bytes]:
    """Yield requests whose files are called what no file should be called."""
    content = originals("png")["grey.png"]
    names = (
        "../../etc/passwd", "/etc/passwd", "/dev/stdin", "/dev/zero", "C:\\Windows\\win.ini", "..",
        ".", "", "-", "--", "~", "a\0.png", "a\r\nX: y", '"', '";x="', "%00", "%2e%2e%2f", "CON",
        "a" * 5000, "\u202egnp.a", "\U0001f9e0",
        "|id", "$(id)", "`id`", "*", "?", "file:///etc/passwd", "http://localhost/", ".nii.gz",
        "/proc/self/mem", "\x7f", "a/b/c.dcm", "DICOMDIR", "\xff",
    )  # fmt: skip
    for name in names:
        for operation in OPERATIONS:
            yield post(
                operation, (name, content), (f"{name}.nii", b""), (f"{SECRET}{name}.dcm", b"x")
            )


def odd_parameters() -> Iterator[bytes]:
    """Yield requests with parameters, paths and methods that mean nothing."""
    file = ("a.png", originals("png")["grey.png"])
    values = ("", "0", "-1", "all", "1:0", "::", "9" * 40, "%00", "%ff", "../x", SECRET, "a" * 9000)
    for name in ("model", "heatmap", "picture", "axis", "slices", SECRET):
        for value in values:
            yield post(f"/v1/classify?{name}={value}", file)
    for path in ("/", "/v1", f"/{SECRET}", "/../app.py", "/%2e%2e/app.py", "//etc/passwd", "/%00"):
        for method in ("GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"):
            lines = (f"{method} {path} HTTP/1.1", "Host: localhost", "Content-Length: 0", "", "")
            yield "\r\n".join(lines).encode()
    for host in ("", "elsewhere", "[", "localhost:x", "\xff"):
        yield f"GET /v1/model HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")


def no_http() -> Iterator[bytes]:
    """Yield bytes that are no requests, or hardly."""
    chance = random.Random(SEED)  # noqa: S311  (no secret)
    yield from (chance.randbytes(200) for _ in range(20))
    yield b"GET / HTTP/9.9\r\n\r\n"
    yield b"GET /\r\n\r\n"
    yield b"GET / HTTP/1.1\r\n\r\n"
    yield b"\x16\x03\x01\x02\x00\x01\x00"
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 5000 + b"\r\n"
    yield b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"
    yield b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 1\r\n\r\nx"
    yield b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def post(operation: str, *files: tuple[str, bytes]) -> bytes:
    """Return a request with files."""
    body = b""
    for name, content in files:
        body += f'--{MARK}\r\nContent-Disposition: form-data; name="files"; filename="'.encode()
        body += name.encode() + b'"\r\n\r\n' + content + b"\r\n"
    body += f"--{MARK}--\r\n".encode()
    lines = (
        f"POST {operation} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={MARK}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def exchange(port: int, raw: bytes, *, patience: float = 90.0) -> str:
    """Send bytes; return the answer's status, or `closed`, or `waits` for more."""
    with socket.create_connection(("127.0.0.1", port), timeout=patience) as connection:
        # (Closed while we speak: what was answered can still be read.)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(raw)
        try:
            answer = connection.recv(12)
        except TimeoutError:
            return "waits"
        except ConnectionError:
            return "closed"
    return answer[9:12].decode("latin-1") if answer.startswith(b"HTTP/") else "closed"


def answered(port: int) -> Counter[str]:
    """Return how many requests the service counted, by status."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        text = connection.makefile("rb").read().decode()
    counts: Counter[str] = Counter()
    for status, count in re.findall(r'requests_total{.*status="(\d+)"} (\d+)', text):
        counts[status] += int(count)
    return counts


def schemathesis(port: int) -> list[str]:
    """Return the command that tries the API by its own description."""
    tool = str(Path(sys.executable).with_name("schemathesis"))
    address = f"http://127.0.0.1:{port}/openapi.json"
    words = ["--checks", "not_a_server_error", "--max-examples", str(EXAMPLES)]
    return [tool, "run", address, *words, "--seed", str(SEED), "--no-color"]


if __name__ == "__main__":
    main()
