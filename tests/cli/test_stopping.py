"""What a kill, Ctrl-C and a second process do to the commands, as real processes get them."""

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from processes import COMMAND, PATIENCE, free_port, log, start, start_held
from small_model import write_model
from tumorscope.cli.main import main


def litter(folder: Path) -> list[Path]:
    """Files that are still called by their temporary name."""
    return [path for path in folder.rglob("*") if path.name.startswith(".")]


# A training run


@pytest.fixture(scope="module")
def words(phantoms: Path, small: list[str]) -> list[str]:
    """The command that is stopped."""
    words = ["train", "--data", str(phantoms), "--split", "grouped-folds", *small]
    return [*words, "--set", "training.epochs=3", "--set", "loss.mixup=0.3", "--no-test"]


@pytest.fixture(scope="module")
def whole(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nobody stopped."""
    import torch  # noqa: PLC0415  (slow to import, and the other tests do without it)

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "whole"
    assert main([*words, "--out", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_training_run_that_was_stopped_goes_on_to_the_same_end(
    words: list[str], whole: Path, tmp_path: Path, name: str
) -> None:
    run = tmp_path / "run"
    process = start_held([*words, "--out", str(run)])
    assert (run / "checkpoints" / "last.ckpt").is_file()
    process.send_signal(signal.Signals[name])
    _, said = process.communicate(timeout=PATIENCE)
    assert not (run / "weights.safetensors").exists()
    if name == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        last = said.splitlines()[-1]
        assert last == f"tumorscope: stopped; go on with: tumorscope train --resume {run}"
        assert "Traceback" not in said
        assert litter(run) == []
    assert main(["train", "--resume", str(run), "--no-test"]) == 0
    weights = "weights.safetensors"
    assert (run / weights).read_bytes() == (whole / weights).read_bytes()
    assert log(run) == log(whole)


def test_two_processes_train_and_the_evaluation_is_that_of_one(
    phantoms: Path, small: list[str], tmp_path: Path
) -> None:
    run, metrics = tmp_path / "run", tmp_path / "metrics.json"
    words = ["train", "--data", str(phantoms), "--split", "grouped-folds", *small]
    process = start([*words, "--set", "training.epochs=2", "--devices", "2", "--out", str(run)])
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, said
    assert [line.split()[:2] for line in said.splitlines()[1:]] == [["epoch", "1"], ["epoch", "2"]]
    assert main(["evaluate", str(run), "--json", str(metrics)]) == 0
    assert json.loads((run / "evaluation.json").read_text()) == json.loads(metrics.read_text())


def test_a_process_whose_partner_dies_says_so_and_how_to_go_on(
    words: list[str], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    words = [*words, "--nodes", "2", "--out", str(run)]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    second = start(words, variables={**meeting, "NODE_RANK": "1"})
    first = start_held(words, variables={**meeting, "NODE_RANK": "0"})
    first.kill()
    first.communicate(timeout=PATIENCE)
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 2, said
    assert said.splitlines()[-1] == (
        "tumorscope: another process of this training has ended, or cannot be reached: "
        f"see what that one said; go on with: tumorscope train --resume {run}"
    )
    assert (run / "checkpoints" / "last.ckpt").is_file()
    assert not (run / "weights.safetensors").exists()


# The other commands


def test_an_audit_that_was_stopped_leaves_nothing(phantoms: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    picture = next((phantoms / "images").iterdir())
    for number in range(1000):
        (pictures / f"{number}.png").symlink_to(picture)
    page = tmp_path / "audit.html"
    terminal, side = pty.openpty()  # only a terminal is shown how far it is
    process = start(["audit", str(pictures), "--html", str(page)], stderr=side)
    os.close(side)
    said = b""
    while b"reading" not in said:
        said += os.read(terminal, 4096)
    process.send_signal(signal.SIGINT)
    try:
        while piece := os.read(terminal, 4096):
            said += piece
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(terminal)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    lines = [line for line in re.sub(rb"\x1b\[[?0-9;]*[A-Za-z]", b"", said).splitlines() if line]
    assert lines[-1] == b"tumorscope: stopped; finished files are whole, nothing else was left"
    assert b"Traceback" not in said
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-"])
def test_a_command_whose_output_is_closed_does_its_work(tmp_path: Path, closed: str) -> None:
    """As jobs of some schedulers are started."""
    model, file = write_model(tmp_path / "m.onnx"), tmp_path / "no such.png"
    words = [*COMMAND, "predict", "--model", str(model), "--csv", str(file)]
    done = subprocess.run(
        ["sh", "-c", f"{shlex.join(words)} {closed}"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_predicting_that_was_stopped_leaves_whole_overlays(phantoms: Path, tmp_path: Path) -> None:
    from PIL import Image  # noqa: PLC0415

    pictures = [str(path) for path in (phantoms / "images").iterdir()] * 20
    folder = tmp_path / "overlays"
    model = str(write_model(tmp_path / "small.onnx"))
    process = start(["predict", *pictures, "--model", model, "--jsonl", "--overlay", str(folder)])
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["path"] == pictures[0]
    process.send_signal(signal.SIGINT)
    said, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert complaint == "tumorscope: stopped; finished files are whole, nothing else was left\n"
    assert len(said.splitlines()) < len(pictures) - 1
    assert litter(folder) == []
    overlays = list(folder.iterdir())
    assert 1 <= len(overlays) < len(pictures)
    for path in overlays:
        with Image.open(path) as picture:
            picture.load()


def test_a_command_that_is_stopped_while_it_is_imported_says_so() -> None:
    code = """
import signal, sys
class Stop:
    def find_spec(self, name, *_):
        if name == "rich":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Stop())
from tumorscope.cli.main import main
sys.exit(main(["audit", "."]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("tumorscope: stopped;")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_has_gone_is_no_error(phantoms: Path) -> None:
    pictures = [str(path) for path in (phantoms / "images").iterdir()]
    process = start(["predict", *pictures, "--jsonl"])
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(PATIENCE) == 1


def test_ctrl_c_in_the_midst_of_a_finalizer_stops_all_the_same() -> None:
    code = """
import signal, sys, time
from tumorscope.cli import info, main

class Held:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def run(options):
    held = Held()
    del held
    time.sleep(600)

info.run = run
sys.exit(main.main(["info", "somewhere"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert done.stderr.splitlines() == [
        "tumorscope: stopped; finished files are whole, nothing else was left"
    ]


_SWALLOWED = """
import os, signal, sys, time
from tumorscope.cli import main as command_line

class Stopped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)  # Python tells of the signal between two lines, and drops it here.

def wait(words):
    Stopped()
    time.sleep(60)
    return 0

command_line._main = wait
sys.exit(command_line.main([]))
"""


def test_a_stop_that_a_finalizer_swallowed_is_felt_in_a_wait() -> None:
    words = [sys.executable, "-c", _SWALLOWED]
    done = subprocess.run(words, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 130
    assert done.stderr.startswith("tumorscope: stopped")
