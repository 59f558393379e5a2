"""Makes the repository's own pages the site's, at the places where their links expect them.

MkDocs calls the functions by their names. The pages stay as they are: a link from `docs/` to a
record leads to a copy of the record, one to a folder of the repository to a list of what is in it.
"""

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "results"
STATIC_PAGE = ROOT / "build" / "static-page"

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
    for path in sorted({*pages, *records, *named}):
        place = path.relative_to(ROOT).as_posix()
        files.append(File.generated(config, place, abs_src_path=str(path)))
    files.append(File.generated(config, "results/README.md", content=_list_of(records)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links to folders of the repository to the pages that tell what is in them."""
    here = (ROOT / page.file.src_uri).parent

    def led(link: re.Match[str]) -> str:
        target = (here / link[1]).resolve()
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


def _list_of(records: Sequence[Path]) -> str:
    """Return a page that links to every record, with the command that made it."""
    rows = []
    for path in records:
        name = path.relative_to(RECORDS).as_posix()
        told = json.loads(path.read_text(encoding="utf-8")) if path.suffix == ".json" else {}
        command = told.get("command", "") if isinstance(told, dict) else ""
        rows.append(f"| [{name}]({name}) | {f'`{command}`' if command else ''} |")
    return "\n".join([_RECORDS_HEAD, *rows, ""])
