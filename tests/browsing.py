"""What a person does in a browser, for the tests of the pages."""

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-compositing",
]
MILLISECONDS = 120_000
"""How long is waited for what must come: machines that do other work, too, are slow."""


@contextmanager
def opened(browser: Any, address: str, **options: Any) -> Iterator[Any]:
    """A fresh page, on which nothing may go wrong unsaid."""
    options.setdefault("viewport", {"width": 1280, "height": 860})
    context = browser.new_context(**options)
    context.set_default_timeout(MILLISECONDS)
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    yield page
    context.close()
    assert not complaints


def give(page: Any, *files: Path, wait: bool = True) -> None:
    """Choose files."""
    page.set_input_files("#choose-files", [str(file) for file in files])
    if wait:
        page.wait_for_selector("#save-csv:enabled")


def drop(page: Any, *files: Path) -> None:
    """Drop files as a person does, on the page."""
    contents = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const [name, text] of files) {
                const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
                transfer.items.add(new File([bytes], name));
            }
            return transfer;
        }""",
        contents,
    )
    for event in ("dragover", "drop"):
        page.dispatch_event("#drop", event, {"dataTransfer": transfer})
    page.wait_for_selector("#save-csv:enabled")


def seen(page: Any, selector: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What stands on the screen there."""
    return np.asarray(Image.open(io.BytesIO(page.locator(selector).first.screenshot())))
