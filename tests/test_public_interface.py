"""`import tumorscope` is all that a program needs: lazy, small, with examples that run."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import tumorscope
from tumorscope.inference import Classifier
from tumorscope.phantoms.drawing import draw_phantom


def run(code: str, folder: Path) -> str:
    """Run a program in a process and a folder of its own."""
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_names_are_those_of_the_interface() -> None:
    assert dir(tumorscope) == sorted(tumorscope.__all__)
    for name in tumorscope.__all__:
        assert getattr(tumorscope, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tumorscope.nothing  # noqa: B018


def test_importing_takes_no_time_and_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, time; before = set(sys.modules); began = time.process_time()\n"
        "import tumorscope\n"
        "took = time.process_time() - began\n"
        "print(took, *sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    took, *imported = run(code, tmp_path).split()
    assert imported == ["tumorscope"]
    assert float(took) < 0.05


def test_torch_is_not_imported_to_predict(tmp_path: Path) -> None:
    code = "import sys, tumorscope; tumorscope.load(); print('torch' in sys.modules)"
    assert run(code, tmp_path).strip() == "False"


def test_one_line_predicts(tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    head = draw_phantom("glioma", plane="axial", patient_seed=1, slice_number=2, size=128).image
    Image.fromarray(head).save(tmp_path / "x.png")
    said = run("import tumorscope; print(tumorscope.load().predict('x.png'))", tmp_path)
    assert said.startswith("[<Prediction x.png: ")
    assert said.endswith(">]\n")
    assert "array" not in said


def test_the_package_and_the_function_of_one_name_live_together(tmp_path: Path) -> None:
    code = (
        "from tumorscope.audit.findings import verdict; import tumorscope, tumorscope.audit.audit\n"
        "assert callable(tumorscope.audit); from tumorscope import audit; assert callable(audit)"
    )
    run(code, tmp_path)


@pytest.mark.parametrize("name", ["audit", "evaluate"])
def test_a_missing_package_is_named(tmp_path: Path, name: str) -> None:
    code = (
        "import sys; sys.modules['scipy'] = sys.modules['jinja2'] = None; import tumorscope\n"
        f"try: tumorscope.{name}\n"
        "except tumorscope.errors.MissingExtraError as error: print(error)"
    )
    assert "pip install 'tumorscope[evaluate]'" in run(code, tmp_path)


EXAMPLES = {
    "load": Classifier.load,
    "predict": Classifier.predict,
    "predict_series": Classifier.predict_series,
    "join_series": Classifier.join_series,
    "audit": type(importlib.import_module("tumorscope.audit")).__call__,
    "evaluate": tumorscope.evaluate,
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(name: str) -> None:
    (example,) = doctest.DocTestFinder(recurse=False).find(EXAMPLES[name], name)
    assert example.examples
    assert not any(doctest.SKIP in step.options for step in example.examples)
    assert doctest.DocTestRunner().run(example).failed == 0
