"""Measures throughput, latency and memory of a local service under load, and records them.

    python benchmarks/serve_load.py [--model M] [--seconds 60] [--unfriendly]

writes `results/serve.json`. The same pictures are classified by `Classifier.predict` in one process
before and after, so that the share stands for the same machine in the same state; the load
generator takes its part of the same cores. Then headless Chromium, where there is one, is handed a
picture, and the time from the drop to the answer on the page is taken.

`--unfriendly`: one in ten requests is left before its answer, half-open connections stand beside
them, and `results/serve_unfriendly.json` is written.
"""

import argparse
import asyncio
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from record import write_record
from tumorscope.classes import CLASSES
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.parallel import usable_cores
from tumorscope.phantoms.drawing import draw_phantom
from tumorscope.serve.app import PAGE

CLIENTS = 32
PICTURES = 64
SIDE = 512
ABORTING = 0.1
"""So many of the requests of unfriendly clients are left before their answer."""

HALF_OPEN = 50
"""Connections that never finish a request, in the unfriendly part."""

PREDICT_SECONDS = 15.0
SETTLED = 10.0
"""Seconds after which the memory should be level."""

BROWSER = "/usr/bin/chromium"
DROPS = 5


def main() -> None:
    """Measure and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=DEFAULT_MODEL, help="an ONNX file or a bundled model")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument(
        "--unfriendly",
        action="store_true",
        help="some clients leave, some never finish; writes results/serve_unfriendly.json",
    )
    options = parser.parse_args()
    busy = round(os.getloadavg()[0], 1)
    more: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = draw(Path(folder))
        contents = [path.read_bytes() for path in paths]
        classifier = Classifier.load(options.model)
        rates = [predict_rate(classifier, paths)]
        with service(options.model) as (port, process):
            if options.unfriendly:
                more = {"aborting": ABORTING, "half_open": HALF_OPEN}
                load = asyncio.run(besieged(port, process, contents, options.seconds))
            else:
                load = asyncio.run(loaded(port, process, contents, options.seconds))
                more["page_bytes_without_niivue"] = page_bytes()
                more["first_answer_ms"] = first_answers(port, paths)
        rates.append(predict_rate(classifier, paths))
    predict = statistics.mean(rate for rate, _ in rates)
    figures = {
        "clients": CLIENTS,
        "seconds": options.seconds,
        "cores_used": usable_cores(),
        "load_average_before": busy,
        "predict_images_per_second": [round(rate, 1) for rate, _ in rates],
        "predict_processor_ms_per_image": [round(busy, 2) for _, busy in rates],
        "serve_images_per_second": round(load["rate"], 1),
        "share_of_predict": round(load["rate"] / predict, 3),
        **{name: value for name, value in load.items() if name != "rate"},
        **more,
    }
    print(json.dumps(figures, indent=2))
    words = " --unfriendly" if options.unfriendly else ""
    path = write_record(
        "serve_unfriendly" if options.unfriendly else "serve",
        command=f"python benchmarks/serve_load.py{words}",
        figures=figures,
        seeds=list(range(PICTURES)),
        n=PICTURES,
        data_fingerprint=hashlib.sha256(b"".join(contents)).hexdigest(),
    )
    print(path)


def draw(folder: Path) -> list[Path]:
    """Draw different heads as JPEG files of the size that the public sets have."""
    paths = []
    for seed in range(PICTURES):
        label = CLASSES[seed % len(CLASSES)]
        phantom = draw_phantom(label, plane="axial", patient_seed=seed, slice_number=2, size=SIDE)
        paths.append(folder / f"{seed}.jpg")
        Image.fromarray(phantom.image).save(paths[-1], quality=92)
    return paths


def predict_rate(classifier: Classifier, paths: list[Path]) -> tuple[float, float]:
    """Return images per second of `Classifier.predict`, and its processor's ms an image."""
    classifier.predict(paths)
    start, busy, count = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - start < PREDICT_SECONDS:
        count += len(classifier.predict(paths * 4))
    busy = time.process_time() - busy
    return count / (time.perf_counter() - start), 1000 * busy / count


@contextmanager
def service(
    *models: str, more: Sequence[str] = ()
) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Start the command; give its port and process; end it as systemd would."""
    code = "from tumorscope.cli.main import main; import sys; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", "--port", "0"]
    command += [part for model in models for part in ("--model", model)] + [*more]
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[0].rpartition(":")[2])
        try:
            yield port, process
        finally:
            process.send_signal(signal.SIGTERM)
            if process.wait(60) != 0:
                log.seek(0)
                print(log.read()[-2000:], file=sys.stderr)


async def loaded(
    port: int,
    process: "subprocess.Popen[str]",
    contents: list[bytes],
    seconds: float,
    *,
    aborting: float = 0.0,
) -> dict[str, Any]:
    """Send pictures from many clients at once, each its next when the last is answered.

    Args:
        port: Where the service is.
        process: The service.
        contents: The pictures.
        seconds: How long.
        aborting: Which share of the requests is left before the answer.
    """
    requests = [request(content) for content in contents]
    end = time.perf_counter() + seconds
    times: list[float] = []
    statuses: Counter[str] = Counter()

    async def client(number: int) -> None:
        chance = random.Random(number)  # noqa: S311  (no secret)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (start := time.perf_counter()) < end:
            content = requests[number % len(requests)]
            number += CLIENTS + 1
            if chance.random() < aborting:  # Somewhere in the request, or once it is sent.
                writer.write(content[: chance.choice((100, len(content) // 2, len(content)))])
                await writer.drain()
                writer.close()
                statuses["left"] += 1
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                continue
            writer.write(content)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            statuses[head[9:12].decode()] += 1
            if head[9:12] == b"200":
                times.append(time.perf_counter() - start)
        writer.close()

    memory: list[float] = []

    async def watch() -> None:
        while time.perf_counter() < end:
            memory.append(resident(process.pid))
            await asyncio.sleep(1)

    begin, busy = time.perf_counter(), processor_seconds(process.pid)
    await asyncio.gather(watch(), *(client(number) for number in range(CLIENTS)))
    wall = time.perf_counter() - begin
    busy = processor_seconds(process.pid) - busy
    settled = memory[min(len(memory) - 1, int(SETTLED))]
    return {
        "rate": len(times) / wall,
        "serve_processor_ms_per_image": round(1000 * busy / len(times), 2),
        "statuses": dict(statuses),
        "median_ms": round(1000 * float(np.quantile(times, 0.5)), 1),
        "p95_ms": round(1000 * float(np.quantile(times, 0.95)), 1),
        "slowest_ms": round(1000 * max(times), 1),
        "memory_mib_after_10_s": round(settled, 1),
        "memory_mib_at_the_end": round(memory[-1], 1),
    }


async def besieged(
    port: int, process: "subprocess.Popen[str]", contents: list[bytes], seconds: float
) -> dict[str, Any]:
    """Load the service while some clients leave and others never finish a request."""
    begun = request(contents[0])
    parts = (b"POST /v1/cl", begun[:120], begun[: len(begun) // 2])
    done = asyncio.Event()

    async def half_open(number: int) -> None:
        while not done.is_set():  # (The service closes such connections; then comes another.)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(parts[number % len(parts)])
            closed = asyncio.create_task(reader.read())
            ended = asyncio.create_task(done.wait())
            await asyncio.wait((closed, ended), return_when=asyncio.FIRST_COMPLETED)
            for task in (closed, ended):
                task.cancel()
            writer.close()

    standing = [asyncio.create_task(half_open(number)) for number in range(HALF_OPEN)]
    figures = await loaded(port, process, contents, seconds, aborting=ABORTING)
    done.set()
    await asyncio.gather(*standing)
    return figures


def request(content: bytes) -> bytes:
    """Return a whole request with one picture."""
    mark = "tumorscope-load"
    head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    lines = (
        "POST /v1/classify HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={mark}",
        f"Content-Length: {len(body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def processor_seconds(pid: int) -> float:
    """Return how long a process has kept a core busy."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """Return a process's memory in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def page_bytes() -> int:
    """Return the weight of the page without NiiVue, which is loaded with the first volume."""
    files = [path for path in PAGE.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if "vendor" not in path.parts)


def first_answers(port: int, paths: list[Path]) -> list[float] | str:
    """Hand a fresh page a picture, again and again; return the ms until its answer stands there."""
    if not Path(BROWSER).is_file():
        return f"not measured: no {BROWSER}"
    from playwright.sync_api import sync_playwright  # noqa: PLC0415  (only where there is one)

    times = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        for path in paths[:DROPS]:
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            page.wait_for_selector("body[data-ready]")
            start = time.perf_counter()
            page.set_input_files("#choose-files", path)
            page.wait_for_selector(".answer .label")
            times.append(round(1000 * (time.perf_counter() - start), 1))
            page.close()
        browser.close()
    return times


if __name__ == "__main__":
    main()
