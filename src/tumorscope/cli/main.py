"""The `tumorscope` command: finds the subcommand, runs it, turns errors into one clear line."""

import _thread
import argparse
import errno
import importlib
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, cast

from tumorscope import RESEARCH_USE_ONLY, __version__
from tumorscope.errors import MissingExtraError, TumorscopeError

COMMANDS: Final = {
    "demo": "draw phantoms, train, evaluate, export and predict, in three minutes",
    "predict": "classify pictures, DICOM files and NIfTI volumes",
    "batch": "classify an archive of any size, on this machine or on a Ray cluster",
    "serve": "open a web page and an HTTP API on this machine",
    "listen": "receive MR images from a PACS or a scanner, answer with reports and overlays",
    "download": "fetch the public data sets",
    "audit": "find copies, leaks and shortcuts in a data set",
    "train": "train a network from a recipe",
    "crossval": "train and evaluate on every fold, and pool the predictions",
    "tune": "search for a better recipe on a fold's training part",
    "evaluate": "evaluate a model, or a file of predictions, on a test split",
    "export": "turn a run or a model file into a checked file, or a folder for a Jetson",
    "benchmark": "measure a model's speed in every runtime installed here",
    "info": "sum up a run folder or a model file",
}
"""Subcommands by name: each is a module of this package with `add_arguments` and `run`."""

DISCLAIMER: Final = RESEARCH_USE_ONLY

STATUS_FAILED: Final = 1
STATUS_USAGE: Final = 2
_STATUS_INTERRUPTED: Final = 130

_SOON: Final = 0.05
"""Seconds until a finalizer has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: What stands after `tumorscope`; the process's own arguments when left out.

    Returns:
        The exit status: 0 done, 1 it ran and some inputs failed, 2 it could not run: bad usage or
        input, a full disk, 130 stopped with Ctrl-C.
    """
    # (Python has None where the caller has closed them, as `>&-` in a shell does.)
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115  (they stay open)
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    words = list(sys.argv[1:] if arguments is None else arguments)
    before = sys.unraisablehook
    sys.unraisablehook = lambda lost: _press_again(lost, before)
    try:
        return _main(words)
    except KeyboardInterrupt as stop:  # even while the command is still being imported
        _complain(str(stop) or "stopped; finished files are whole, nothing else was left")
        return _STATUS_INTERRUPTED
    finally:
        sys.unraisablehook = before


def _press_again(lost: Any, otherwise: Callable[[Any], object]) -> None:
    """Let a Ctrl-C take effect that Python has dropped because a finalizer was running."""
    if issubclass(lost.exc_type, KeyboardInterrupt):
        threading.Timer(_SOON, _press).start()
    else:
        otherwise(lost)


def _press() -> None:
    """Interrupt the main thread as Ctrl-C does, even while it waits."""
    main_thread = threading.main_thread().ident
    if main_thread is not None and hasattr(signal, "pthread_kill"):
        signal.pthread_kill(main_thread, signal.SIGINT)
    else:  # (Windows)
        _thread.interrupt_main()


def _main(words: list[str]) -> int:
    name = next((word for word in words if not word.startswith("-")), None)
    try:
        parser = _parser(name if name in COMMANDS else None)
    except MissingExtraError as error:
        _complain(str(error))
        return STATUS_USAGE
    options = parser.parse_args(words)
    if options.command is None:
        parser.print_help()
        return STATUS_USAGE
    # Reading refuses pictures long before the size that Pillow warns about; one line is enough.
    warnings.filterwarnings("ignore", message="Image size .* exceeds limit")
    return _run(options)


def _run(options: argparse.Namespace) -> int:
    from tumorscope.images import UnreadableImageError  # noqa: PLC0415  (keeps --help fast)

    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except (TumorscopeError, UnreadableImageError) as error:
        if options.debug:
            raise
        _complain(str(error))
        status = STATUS_USAGE
    except ModuleNotFoundError as error:
        if options.debug or _is_ours(error):
            raise
        _complain(str(_missing(options.command, error)))
        status = STATUS_USAGE
    except BrokenPipeError:
        # Whoever read the answers has gone, as `head` does: there is nobody to be told.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = STATUS_FAILED
    except OSError as error:
        if options.debug:
            raise
        _complain(_explain(error))
        status = STATUS_USAGE
    except Exception as error:  # a traceback says nothing to most people
        if options.debug:
            raise
        _complain(f"{type(error).__name__}: {error}; run it with --debug and report what it shows")
        status = STATUS_FAILED
    return status


def _explain(error: OSError) -> str:
    """Say what the system refused, where, and what to do; a note of the command's own ends it."""
    where = f" ({error.filename})" if error.filename else ""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "make room there, then run it again" if full else "check the path and the rights"
    notes = getattr(error, "__notes__", None) or [advice]
    return f"{error.strerror or error}{where}: {'; '.join(notes)}"


def _complain(message: str) -> None:
    print(f"tumorscope: {' '.join(message.split())}", file=sys.stderr)


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    """Build the parser; only the chosen subcommand is imported, so that `--help` is fast."""
    parser = argparse.ArgumentParser(
        prog="tumorscope",
        description="Sorts brain MRI slices into glioma, meningioma, pituitary tumour, no tumour.",
        epilog=DISCLAIMER,
    )
    parser.add_argument("--version", action="version", version=f"tumorscope {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=DISCLAIMER,
        )
        subparser.add_argument("--debug", action="store_true", help="show tracebacks")
        if name == chosen:
            module = _command(name)
            module.add_arguments(subparser)
            subparser.set_defaults(run=module.run)
    return parser


class _Command(Protocol):
    """What a subcommand's module offers."""

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Describe the subcommand's arguments."""

    def run(self, options: argparse.Namespace, /) -> int:
        """Run the subcommand and return the exit status."""


def _command(name: str) -> _Command:
    """Import a subcommand.

    Raises:
        MissingExtraError: Its packages are not installed.
    """
    try:
        return cast(_Command, importlib.import_module(f"tumorscope.cli.{name}"))
    except ModuleNotFoundError as error:
        if _is_ours(error):
            raise
        raise _missing(name, error) from None


def _is_ours(error: ModuleNotFoundError) -> bool:
    return error.name is None or error.name.startswith("tumorscope")


def _missing(command: str, error: ModuleNotFoundError) -> MissingExtraError:
    own = {"audit": "evaluate", "batch": "cluster", "evaluate": "evaluate", "serve": "serve"}
    extra = own.get(command, "train")
    return MissingExtraError(extra, str(error.name))


if __name__ == "__main__":
    sys.exit(main())
