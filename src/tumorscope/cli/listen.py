"""`tumorscope listen`: receives MR images over the network and answers with DICOM objects."""

import argparse
import ipaddress
import logging
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import Final

from tumorscope.cli.main import DISCLAIMER
from tumorscope.errors import DataError

_PORT: Final = 11112
"""The port that IANA registered for DICOM beside 104, which only root may use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write reports and overlays there, by study"
    )
    parser.add_argument(
        "--send-to", metavar="AE@HOST:PORT", help="send reports and overlays there (C-STORE)"
    )
    parser.add_argument("--aet", default="TUMORSCOPE", metavar="AE", help="own AE title")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: this machine only)"
    )
    parser.add_argument(
        "--port", type=int, default=_PORT, metavar="N", help=f"default: {_PORT}; 0: a free one"
    )
    parser.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="AE",
        help="AE title that may send; can stand several times (default: all)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        default=Path("tumorscope-spool"),
        metavar="DIR",
        help="where images wait until they are answered (default: tumorscope-spool)",
    )
    parser.add_argument(
        "--quiet",
        type=float,
        default=20.0,
        metavar="S",
        help="a series is answered after so many seconds without a new image (default: 20)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="S",
        help="the same for one of which images are missing (default: 300)",
    )
    parser.add_argument(
        "--keep",
        type=float,
        default=24.0,
        metavar="H",
        help="hours that an answered series is kept, as more of it may come (default: 24)",
    )
    parser.add_argument(
        "--deidentify", action="store_true", help="leave the patient out of what is written"
    )
    parser.add_argument("--model", metavar="M", help="an .onnx file, or a bundled model's name")
    parser.add_argument("--provider", metavar="NAME", help="cpu, cuda, tensorrt, openvino, ...")
    parser.add_argument("--threads", type=int, metavar="N", help="default: one a core")


def run(options: argparse.Namespace) -> int:
    """Listen until SIGTERM or Ctrl-C."""
    from tumorscope.inference import DEFAULT_MODEL, Classifier  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.pacs.answering import Answering, Delivery  # noqa: PLC0415
    from tumorscope.pacs.deidentification import Pseudonyms  # noqa: PLC0415
    from tumorscope.pacs.listener import Listener  # noqa: PLC0415
    from tumorscope.pacs.sending import Peer  # noqa: PLC0415
    from tumorscope.pacs.series_gaps import missing_images  # noqa: PLC0415
    from tumorscope.pacs.spool import Spool  # noqa: PLC0415

    _check(options)
    log = _log()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    peer = Peer.parse(options.send_to) if options.send_to else None
    classifier = Classifier.load(
        options.model or DEFAULT_MODEL,
        threads=options.threads,
        providers=[options.provider] if options.provider else None,
    )
    spool = Spool(options.spool, missing_images)
    listener = Listener(spool, title=options.aet, allowed=options.allow)
    answering = Answering(
        spool,
        classifier,
        Delivery(folder=options.out, peer=peer, title=options.aet),
        quiet=options.quiet,
        patience=options.patience,
        keep=3600 * options.keep,
        pseudonyms=Pseudonyms(spool.key()) if options.deidentify else None,
    )
    port = listener.start(options.host, options.port)
    answering.start()
    log.info("%s listens at %s:%d with %s", options.aet, options.host, port, classifier.facts.title)
    log.info(DISCLAIMER)
    stop.wait()
    log.info("stopping; what is not answered yet waits in the spool")
    listener.stop()
    answering.stop()
    spool.close()
    return 0


def _check(options: argparse.Namespace) -> None:
    """Refuse arguments that make no sense together.

    Raises:
        DataError: Says what to do.
    """
    from tumorscope.pacs.sending import is_title  # noqa: PLC0415

    if not options.out and not options.send_to:
        raise DataError("the answers go nowhere: give --out DIR, --send-to AE@HOST:PORT, or both")
    for title in (options.aet, *options.allow):
        if not is_title(title):
            raise DataError(f"'{title}' is no AE title: 1 to 16 letters, digits and signs")
    if not 0 <= options.port < 65536:
        raise DataError(f"{options.port} is no port: choose one from 1 to 65535")
    for name in ("quiet", "patience", "keep"):
        if not getattr(options, name) >= 0:
            raise DataError(f"--{name} is a number, 0 or more")
    if not _is_loopback(options.host) and not options.allow:
        print(
            "tumorscope: warning: anybody who reaches this port can send images: name the senders "
            "with --allow",
            file=sys.stderr,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log() -> logging.Logger:
    """Return the log, on standard error; nothing in it says who a patient is."""
    # What libraries find odd in a file they say with the value, which may be a name.
    warnings.filterwarnings("ignore")
    log = logging.getLogger("tumorscope")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO)
    return log
