"""What the command says about itself: short enough for a screen, and at once."""

import subprocess
import sys

import pytest

from tumorscope.cli.main import COMMANDS, DISCLAIMER, main

_SCREEN = 40


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_help_fits_a_screen(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as leaving:
        main([*([name] if name else []), "--help"])
    assert leaving.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= _SCREEN
    assert max(map(len, lines)) <= 80
    assert lines[-1] == DISCLAIMER
    if not name:
        assert all(any(line.split()[:1] == [command] for line in lines) for command in COMMANDS)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["predict", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys; from tumorscope.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "outside = {name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names\n"
        "print(*sorted(outside), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "torch", "PIL", "onnxruntime", "rich", "pydantic", "sklearn", "matplotlib"}
    assert "tumorscope" in done.stderr.split()
    assert not heavy & set(done.stderr.split())


@pytest.mark.parametrize(
    "name", ["train", "crossval", "tune", "demo", "export", "evaluate", "audit"]
)
def test_help_of_what_trains_and_measures_imports_nothing_slow(name: str) -> None:
    code = (
        "import sys; from tumorscope.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as leaving: assert leaving.code == 0\n"
        "assert not {'torch', 'lightning', 'optuna', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, name, "--help"], capture_output=True, check=True)


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "usage: tumorscope" in capsys.readouterr().out


@pytest.mark.parametrize("rest", [["--help"], ["--port", "0"]])
def test_a_command_whose_packages_are_missing_says_what_to_install(rest: list[str]) -> None:
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from tumorscope.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "serve", *rest], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "tumorscope: this command needs 'uvicorn', which a plain install leaves out: "
        "pip install 'tumorscope[serve]'\n"
    )


@pytest.mark.parametrize("name", ["train", "crossval", "tune", "evaluate", "audit"])
def test_a_plain_install_shows_the_help(name: str) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys("
        "('platformdirs', 'scipy', 'sklearn', 'jinja2', 'matplotlib', 'torch', 'pyarrow')))\n"
        "from tumorscope.cli.main import main; main(sys.argv[1:])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name, "--help"], capture_output=True, text=True, check=True
    )
    assert "--no-patients" in done.stdout
