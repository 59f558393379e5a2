"""`tumorscope listen`: receives MR images over the network and answers with DICOM objects."""

import argparse
import logging
import signal
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tumorscope.cli.addresses import is_loopback, opening, read_token
from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.numbers import threads
from tumorscope.errors import DataError

if TYPE_CHECKING:
    import ssl

    from tumorscope.pacs.answering import Delivery
    from tumorscope.pacs.tls import TlsFiles
    from tumorscope.pacs.web import WebServer

_PORT: Final = 11112
"""The port that IANA registered for DICOM beside 104, which only root may use."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    parser.usage = "tumorscope listen [options] (--out DIR | --send-to PEER | --stow-to URL)"
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="write reports, maps and overlays there, by study"
    )
    parser.add_argument("--send-to", metavar="AE@HOST:PORT", help="send them there (C-STORE)")
    parser.add_argument("--stow-to", metavar="URL", help="send them to this DICOMweb server")
    parser.add_argument(
        "--stow-port", type=int, metavar="N", help="take images by STOW-RS, too, at this port"
    )
    parser.add_argument(
        "--token-file", type=Path, metavar="FILE", help="the token that STOW-RS needs, both ways"
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
        help="AE title that may send, again and again (default: all)",
    )
    parser.add_argument(
        "--spool",
        type=Path,
        default=Path("tumorscope-spool"),
        metavar="DIR",
        help="where images wait (default: tumorscope-spool)",
    )
    parser.add_argument(
        "--quiet",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds without an image that end a series (default: 20)",
    )
    parser.add_argument(
        "--patience",
        type=float,
        default=300.0,
        metavar="S",
        help="the same where images are missing (default: 300)",
    )
    parser.add_argument(
        "--keep",
        type=float,
        default=24.0,
        metavar="H",
        help="hours that what was answered is kept (default: 24)",
    )
    for name, words in (
        ("--tls-cert", "own certificate: all that comes in comes by TLS"),
        ("--tls-key", "its key"),
        ("--tls-ca", "who vouches for callers (if given) and receivers"),
    ):
        parser.add_argument(name, type=Path, metavar="FILE", help=words)
    parser.add_argument("--tls-send", action="store_true", help="send by TLS, too (C-STORE)")
    parser.add_argument(
        "--commit-to",
        action="append",
        default=[],
        metavar="AE@HOST:PORT",
        help="where that AE is told of storage commitment",
    )
    parser.add_argument(
        "--metrics-port", type=int, metavar="N", help="serve /metrics and /healthz at this port"
    )
    parser.add_argument(
        "--deidentify", action="store_true", help="leave the patient out of what is written"
    )
    parser.add_argument("--model", metavar="M", help="an .onnx file, or a bundled model's name")
    parser.add_argument("--provider", metavar="NAME", help="cpu, cuda, tensorrt, openvino, ...")
    parser.add_argument("--threads", type=threads, metavar="N", help="default: one a core")


def run(options: argparse.Namespace) -> int:
    """Listen until SIGTERM or Ctrl-C."""
    from tumorscope.inference import DEFAULT_MODEL, Classifier  # noqa: PLC0415  (keeps --help fast)
    from tumorscope.pacs.answering import Answering  # noqa: PLC0415
    from tumorscope.pacs.commitment import Commitment  # noqa: PLC0415
    from tumorscope.pacs.deidentification import Pseudonyms  # noqa: PLC0415
    from tumorscope.pacs.intake import Intake  # noqa: PLC0415
    from tumorscope.pacs.listener import Listener  # noqa: PLC0415
    from tumorscope.pacs.listener_metrics import ListenerMetrics  # noqa: PLC0415
    from tumorscope.pacs.sending import Peer  # noqa: PLC0415
    from tumorscope.pacs.series_gaps import missing_images  # noqa: PLC0415
    from tumorscope.pacs.spool import Spool  # noqa: PLC0415

    _check(options)
    tls = _tls(options)
    token = read_token(options.token_file) if options.token_file else None
    delivery = _delivery(options, tls, token)
    askers = {peer.title: peer for peer in map(Peer.parse, options.commit_to)}
    log = _log()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    classifier = Classifier.load(
        options.model or DEFAULT_MODEL,
        threads=options.threads,
        providers=[options.provider] if options.provider else None,
    )
    spool, metrics = Spool(options.spool, missing_images), ListenerMetrics()
    intake = Intake(spool, metrics)
    listener = Listener(
        intake,
        title=options.aet,
        allowed=options.allow,
        commitment=Commitment(options.aet, askers),
    )
    answering = Answering(
        spool,
        classifier,
        delivery,
        metrics,
        quiet=options.quiet,
        patience=options.patience,
        keep=3600 * options.keep,
        pseudonyms=Pseudonyms(spool.key()) if options.deidentify else None,
    )
    context = tls.for_listening() if tls else None
    # (Threads begin when all ports are open: one that waits would keep a failed start from ending.)
    storage = _web_server(options.host, options.stow_port, "--stow-port", context)
    health = _web_server(options.host, options.metrics_port, "--metrics-port")
    with opening(options.host, options.port):
        port = listener.start(options.host, options.port, tls=context)
    answering.start()
    log.info("%s listens at %s:%d with %s", options.aet, options.host, port, classifier.facts.title)
    if storage:
        storage.offer_storage(intake, token)
        log.info("STOW-RS at port %d, /studies", storage.port)
    if health:
        health.offer_metrics(
            lambda: metrics.text(spool.waiting()),
            lambda: spool.problem() if answering.is_alive() else "nothing is answered any more",
        )
        log.info("metrics and health at port %d", health.port)
    servers = [server for server in (storage, health) if server]
    for server in servers:
        server.start()
    log.info(DISCLAIMER)
    stop.wait()
    log.info("stopping; what is not answered yet waits in the spool")
    for server in servers:
        server.stop()
    listener.stop()
    answering.stop()
    spool.close()
    return 0


def _web_server(
    host: str, port: int | None, option: str, tls: "ssl.SSLContext | None" = None
) -> "WebServer | None":
    """Open a port for HTTP; None where none was asked for."""
    from tumorscope.pacs.web import WebServer  # noqa: PLC0415

    if port is None:
        return None
    with opening(host, port, option):
        return WebServer((host, port), tls=tls)


def _delivery(options: argparse.Namespace, tls: "TlsFiles | None", token: str | None) -> "Delivery":
    """Return where the answers go.

    Raises:
        DataError: A receiver is none.
    """
    from tumorscope.pacs.answering import Delivery  # noqa: PLC0415
    from tumorscope.pacs.sending import Peer  # noqa: PLC0415
    from tumorscope.pacs.stow import DicomWebServer  # noqa: PLC0415

    web = None
    if options.stow_to:
        server = DicomWebServer(url=options.stow_to, token=token, authority=options.tls_ca)
        web = server.check()
    return Delivery(
        folder=options.out,
        peer=Peer.parse(options.send_to) if options.send_to else None,
        title=options.aet,
        tls=tls.for_sending() if tls and options.tls_send else None,
        web=web,
    )


def _tls(options: argparse.Namespace) -> "TlsFiles | None":
    """Return the files that TLS needs; None where nothing is encrypted.

    Raises:
        DataError: Some are missing.
    """
    from tumorscope.pacs.tls import TlsFiles  # noqa: PLC0415

    given = (options.tls_cert, options.tls_key)
    if all(given):
        return TlsFiles(certificate=given[0], key=given[1], authority=options.tls_ca)
    if any(given) or options.tls_send:
        raise DataError("--tls-cert and --tls-key belong together, and --tls-send needs both")
    if options.tls_ca and not options.stow_to:
        raise DataError(
            "--tls-ca goes with --tls-cert and --tls-key, or with --stow-to: give these"
        )
    return None


def _check(options: argparse.Namespace) -> None:
    """Refuse arguments that make no sense together.

    Raises:
        DataError: Says what to do.
    """
    from tumorscope.pacs.sending import is_title  # noqa: PLC0415

    if not (options.out or options.send_to or options.stow_to):
        raise DataError(
            "the answers go nowhere: give --out DIR, --send-to AE@HOST:PORT, --stow-to URL, or some"
        )
    if options.token_file and options.stow_port is None and not options.stow_to:
        raise DataError("--token-file is for STOW-RS: give --stow-port or --stow-to, too")
    for title in (options.aet, *options.allow):
        if not is_title(title):
            raise DataError(f"'{title}' is no AE title: 1 to 16 letters, digits and signs")
    for port in (options.port, options.stow_port or 0, options.metrics_port or 0):
        if not 0 <= port < 65536:
            raise DataError(f"{port} is no port: choose one from 1 to 65535")
    for name in ("quiet", "patience", "keep"):
        if not getattr(options, name) >= 0:
            raise DataError(f"--{name} is a number, 0 or more")
    known_only = options.tls_cert and options.tls_ca  # (By their certificates.)
    open_dicom = not options.allow and not known_only
    open_web = options.stow_port is not None and not options.token_file and not known_only
    if not is_loopback(options.host) and (open_dicom or open_web):
        advice = ["name the senders with --allow"] if open_dicom else []
        advice += ["set a token (--token-file)"] if open_web else []
        print(
            "tumorscope: warning: anybody who reaches this port can send images: "
            + ", ".join(advice),
            file=sys.stderr,
        )


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
