"""Builds the static page: the page of `tumorscope serve` with the model in the browser, no server.

    python static_page/build.py

Writes `build/static-page`, which any host of files can serve. ONNX Runtime Web and dicom-parser
come from npm, in the versions of `package-lock.json`; they are kept in `build/npm`.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from tumorscope import RESEARCH_USE_ONLY, __version__
from tumorscope.inference.complete_file import PixelSize, complete_file
from tumorscope.inference.model_file import DEFAULT_MODEL, find_model, open_model
from tumorscope.serve.app import PAGE

HERE = Path(__file__).parent
BUILD = HERE.parent / "build"

POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self' blob: data:; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'"
)
"""What the page may load: nothing from elsewhere, so nothing can be sent there."""

RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


def fetch_packages(folder: Path) -> Path:
    """Install the packages from npm, if they are not there yet; return their folder."""
    modules = folder / "node_modules"
    lock = (HERE / "package-lock.json").read_bytes()
    kept = folder / "package-lock.json"
    if not (modules.is_dir() and kept.is_file() and kept.read_bytes() == lock):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        words = ("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        patience = (
            "--fetch-retries=1",
            "--fetch-retry-mintimeout=1000",
            "--fetch-retry-maxtimeout=5000",
        )
        subprocess.run((*words, *patience), cwd=folder, check=True, stdout=subprocess.DEVNULL)
    return modules


def build(out: Path, modules: Path) -> None:
    """Write the page's folder anew.

    Args:
        out: The folder.
        modules: The packages from npm.
    """
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(PAGE, out, ignore=shutil.ignore_patterns("service-client.js"))
    for path in HERE.glob("*.js"):
        shutil.copy(path, out)
    _copy_packages(modules, out / "vendor")
    model = find_model(DEFAULT_MODEL)
    complete_file(model, out / "model.onnx", PixelSize())
    (out / "card.json").write_text(json.dumps(_card(model)))
    index = (out / "index.html").read_text()
    index = index.replace("./service-client.js", "./browser-client.js")
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    index = index.replace('<meta charset="utf-8">', f'<meta charset="utf-8">\n{policy}')
    (out / "index.html").write_text(index)
    _fill_service_worker(out)


def _copy_packages(modules: Path, vendor: Path) -> None:
    for name in RUNTIME:
        shutil.copy(modules / "onnxruntime-web" / "dist" / name, vendor)
    parser = modules / "dicom-parser"
    script = (parser / "dist" / "dicomParser.min.js").read_text()
    # (It is written for CommonJS; what it wants of zlib is for packed files, which are refused.)
    (vendor / "dicom-parser.js").write_text(
        "const module = { exports: {} }, exports = module.exports, require = () => undefined;\n"
        f"{script}\nexport default module.exports;\n"
    )
    shutil.copy(parser / "LICENSE", vendor / "dicom-parser-LICENSE.txt")


def _card(model: Path) -> dict[str, object]:
    """Return what the service answers at /v1/model."""
    facts = open_model(model, threads=1).facts
    card = {"id": facts.title, "title": facts.title, **asdict(facts)}
    return {"tumorscope": __version__, "notice": RESEARCH_USE_ONLY, "models": [card]}


def _fill_service_worker(out: Path) -> None:
    """Write into the service worker which files it keeps, and a version that changes with them."""
    worker = out / "service-worker.js"
    files = sorted(path for path in out.rglob("*") if path.is_file() and path != worker)
    digest = hashlib.sha256(worker.read_bytes())
    for path in files:
        digest.update(path.read_bytes())
    names = ["./", *(f"./{path.relative_to(out).as_posix()}" for path in files)]
    text = worker.read_text().replace('["FILES"]', json.dumps(names))
    worker.write_text(text.replace("VERSION", digest.hexdigest()[:16]))


def main() -> None:
    """Build it."""
    parser = argparse.ArgumentParser(description="Build the static page.")
    parser.add_argument("--out", type=Path, default=BUILD / "static-page")
    out = parser.parse_args().out
    try:
        modules = fetch_packages(BUILD / "npm")
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(
            f"nothing was built: npm does not give its packages; is there a network? ({error})"
        )
    build(out, modules)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    print(f"{out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
