"""Runs the notebooks, each in an empty folder, and keeps their outputs for readers and the site.

    python site/run_notebooks.py [NAME ...]

The notebook notes which code its outputs are of; a test fails when that has changed.
"""

import argparse
import hashlib
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="such as train; all without one")
    names = parser.parse_args().names or sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))
    for name in names:
        run(NOTEBOOKS / f"{name}.ipynb")
        print(name)


def run(path: Path) -> None:
    """Run a notebook and write its outputs into it."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=None, kernel_name="python3", resources=where).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for cell in cells:
        cell.metadata = {}  # (times)
        for output in cell.outputs:
            output.get("data", {}).pop("image/jpeg", None)  # (it is there as PNG, too)
    code = "\n".join(cell.source for cell in cells)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "outputs_of": hashlib.sha256(code.encode()).hexdigest(),
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
