"""Makes the repository's own pages the site's, at the places where their links expect them.

MkDocs calls the functions by their names. The pages stay as they are: a link from `docs/` to a
record leads to a copy of the record, one to a folder of the repository to a list of what is in it.
Notebooks become pages with the outputs that they were committed with.
"""

import base64
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results"
NOTEBOOKS = ROOT / "docs" / "notebooks"
STATIC_PAGE = ROOT / "build" / "static-page"

_ALONE = ("docs/leaderboard.md", "python.md")
"""Pages that are a section by themselves: no list of its pages beside them."""

_LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)\s]*)?\)")
_RECORDS_HEAD = """# Records

Every figure in these pages comes from one of these files
([how they are made](../docs/protocol.md#records)).

| record | made by |
|---|---|"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's pages, the pictures, the records, and every file that a page names."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    records = sorted(path for path in RECORDS.rglob("*") if path.is_file())
    named = {target for page in pages for target in _targets(page) if target.is_file()}
    notebooks = sorted(NOTEBOOKS.glob("*.ipynb"))
    for path in sorted({*pages, *records, *named, *notebooks}):
        place = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(path)))
    files.append(File.generated(config, "results/README.md", content=_list_of(records)))
    for path in notebooks:
        place = path.relative_to(ROOT)
        page, pictures = _as_page(path)
        files.append(File.generated(config, place.with_suffix(".md").as_posix(), content=page))
        for name, picture in pictures.items():
            files.append(File.generated(config, place.with_name(name).as_posix(), content=picture))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to notebooks and to folders of the repository to pages that show them."""
    here = (ROOT / page.file.src_uri).parent
    if page.file.src_uri in _ALONE:
        page.meta["hide"] = ["navigation"]

    def led(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
        if target.parent == NOTEBOOKS != here:
            return link[0].replace(".ipynb", ".md")
        if not target.is_dir():
            return link[0]
        told = (
            "results/README.md" if RECORDS in (target, *target.parents) else "docs/architecture.md"
        )
        return f"]({'../' * page.file.src_uri.count('/')}{told})"

    return _LINK.sub(led, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Copy the page that needs no server, where it was built."""
    if STATIC_PAGE.is_dir():
        shutil.copytree(STATIC_PAGE, Path(config.site_dir) / "try", dirs_exist_ok=True)


def _targets(page: Path) -> Iterator[Path]:
    """Yield what a page's links lead to in the repository."""
    for link in _LINK.finditer(page.read_text(encoding="utf-8")):
        target = (page.parent / link[1]).resolve()
        if ROOT in target.parents:
            yield target


def _as_page(path: Path) -> tuple[str, dict[str, bytes]]:
    """Return a notebook as Markdown, and the pictures among its outputs by their names."""
    parts: list[str] = []
    pictures: dict[str, bytes] = {}
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data: dict[str, Any] = output.get("data", {"text/plain": output.get("text", [])})
            if "image/png" in data:
                name = f"{path.stem}-{number}.png"
                pictures[name] = base64.b64decode(data["image/png"])
                parts.append(f"![What the cell above shows]({name})")
            else:
                text = "".join(data["text/plain"]).rstrip()
                parts.append(f"``` {{ .text .output .no-copy }}\n{text}\n```")
    title, *rest = parts
    heading, _, introduction = title.partition("\n")
    download = f"[This page as a notebook]({path.name}){{ download }}"
    return "\n\n".join([heading, introduction, download, *rest, ""]), pictures


def _list_of(records: Sequence[Path]) -> str:
    """Return a page that links to every record, with the command that made it."""
    rows = []
    for path in records:
        name = path.relative_to(RECORDS).as_posix()
        told = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}
        command = told.get("command", "") if isinstance(told, dict) else ""
        rows.append(f"| [{name}]({name}) | {f'`{command}`' if command else ''} |")
    return "\n".join([_RECORDS_HEAD, *rows, ""])
