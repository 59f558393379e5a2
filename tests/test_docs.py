"""The pages' commands are real commands, their tables come from the records, examples run."""

import csv
import doctest
import hashlib
import importlib
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tumorscope.cli import main as command_line

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMANDS = [
    (page.name, line.split(" #")[0].strip())
    for page in PAGES
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    for line in block.replace("\\\n", " ").splitlines()
    if "tumorscope " in line.split(" #")[0]
]
PROGRAMS = {
    page.name: found
    for page in PAGES
    if (found := re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))
}
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
EXAMPLES = sorted(
    path
    for path in (ROOT / "src").rglob("*.py")
    if ">>> " in (text := path.read_text(encoding="utf-8")) and "doctest: +SKIP" not in text
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_commands_in_the_pages_are_understood(page: str, line: str) -> None:
    words = shlex.split(line[line.index("tumorscope ") :].replace("…", ""))[1:]
    words = words[: words.index("|")] if "|" in words else words
    words = words[: words.index(">")] if ">" in words else words
    options = command_line._parser(words[0]).parse_args(words)
    assert options.command == words[0], page


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_in_docstrings_run(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT / "src").with_suffix("").parts)
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted > 0
    assert result.failed == 0


@pytest.fixture(scope="module")
def workplace(phantoms: Path, trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages' programs name."""
    folder = tmp_path_factory.mktemp("workplace")
    pictures = sorted((phantoms / "images").iterdir())
    (folder / "series").mkdir()
    for path in pictures[:2]:
        shutil.copy(path, folder / "series")
    with Image.open(pictures[4]) as picture:
        picture.save(folder / "scan.jpg")
    shutil.copytree(trained, folder / "runs" / "RUN")
    shutil.copytree(phantoms, folder / "data")
    return folder


@pytest.mark.parametrize(
    ("page", "number"), [(page, n) for page, blocks in PROGRAMS.items() for n in range(len(blocks))]
)
def test_programs_in_the_pages_run(
    page: str, number: int, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workplace)
    exec(compile(PROGRAMS[page][number], page, "exec"), {})


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_run(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch  # noqa: PLC0415  (slow to import)

    torch.set_num_threads(1)  # as in the processes that tests start
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path.name, "exec"), names)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_of_notebooks_are_those_of_their_code(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    notebook = json.loads(text)
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    code = "\n".join("".join(cell["source"]) for cell in cells)
    kept = notebook["metadata"]["outputs_of"]
    assert kept == hashlib.sha256(code.encode()).hexdigest(), "run 'make notebooks'"
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kinds = {output["output_type"] for cell in cells for output in cell["outputs"]}
    assert kinds <= {"execute_result", "stream"}
    assert not re.findall(r"/(?:home|opt|root|tmp|usr|work|Users)/", text), "a path of a machine"


def words_of(page: Path) -> str:
    """A page, or the texts of a notebook, without code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
        text = "\n".join(texts)
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def anchors_of(page: Path) -> set[str]:
    """What a link may name behind a '#': headings as GitHub and MkDocs call them, and own marks."""
    text = words_of(page)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    slugs = {re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings}
    return {re.sub(r"\s", "-", slug) for slug in slugs} | set(re.findall(r'<a id="(.+?)"', text))


@pytest.mark.parametrize("page", [*PAGES, *NOTEBOOKS], ids=lambda path: path.name)
def test_links_in_the_pages_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", words_of(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        assert not anchor or anchor in anchors_of(target), link


def test_tables_are_what_the_records_say() -> None:
    script = ROOT / "benchmarks" / "tables.py"
    result = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert result.returncode == 0, "run 'make tables'"


def test_every_experiment_has_all_its_fields() -> None:
    with (ROOT / "results" / "experiments.csv").open(newline="", encoding="utf-8") as file:
        names, *rows = csv.reader(file)
    assert [row[0] for row in rows if len(row) != len(names) or not all(row)] == []
    assert [int(row[0]) for row in rows] == list(range(1, len(rows) + 1))
