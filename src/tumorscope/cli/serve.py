"""`tumorscope serve`: a web page and an HTTP API on this machine."""

import argparse
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import uvicorn

from tumorscope.cli.addresses import checked_token, is_loopback, opening, read_token
from tumorscope.cli.main import DISCLAIMER
from tumorscope.cli.numbers import count, threads
from tumorscope.errors import DataError
from tumorscope.images.opening import quieten_libraries
from tumorscope.inference import DEFAULT_MODEL, Classifier
from tumorscope.serve import Limits, create_app
from tumorscope.serve.app import LOCAL_NAMES
from tumorscope.serve.limits import MEGABYTE
from tumorscope.serve.protocol import LONGEST_HEADERS, HeaderDeadlineProtocol

_TOKEN = "TUMORSCOPE_TOKEN"  # noqa: S105  (the variable's name)

_GRACE = 5
"""Seconds beyond a request's own limit that the process waits for it when it is to stop."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the subcommand's arguments."""
    usual = Limits()
    parser.add_argument(
        "--model",
        action="append",
        metavar="M",
        help="an .onnx file, or a bundled model's name; two to compare them",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: this machine only)")
    parser.add_argument("--port", type=int, default=8000, help="default: 8000; 0 takes a free one")
    parser.add_argument(
        "--token-file",
        type=Path,
        metavar="FILE",
        help=f"requests must bear this token (default: ${_TOKEN}, else none)",
    )
    parser.add_argument("--threads", type=threads, metavar="N", help="default: one a core")
    parser.add_argument(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name that it answers to, behind a proxy; may be given several times",
    )
    parser.add_argument("--root-path", default="", metavar="PATH", help="where a proxy mounts it")
    parser.add_argument(
        "--proxy",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="a proxy whose X-Forwarded headers are believed",
    )
    parser.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate: serve HTTPS")
    parser.add_argument("--tls-key", type=Path, metavar="FILE", help="its key")
    for name, value, words in (
        ("--max-body", usual.body // MEGABYTE, "MB of a request"),
        ("--max-files", usual.files, "files of a request"),
        ("--queue", usual.queue, "requests at work or waiting; more get 429"),
        ("--timeout", int(usual.seconds), "seconds for a request to arrive, and for its answer"),
    ):
        parser.add_argument(
            name, type=count, default=value, metavar="N", help=f"{words} (default: {value})"
        )


def run(options: argparse.Namespace) -> int:
    """Answer requests until the process is told to stop."""
    quieten_libraries()
    _start_log()
    classifiers = _classifiers(options.model or [DEFAULT_MODEL], options.threads)
    token = _token(options.token_file)
    local = is_loopback(options.host)
    body = options.max_body * MEGABYTE
    limits = Limits(
        body=body,
        held=max(Limits().held, 2 * body),
        files=options.max_files,
        queue=options.queue,
        seconds=options.timeout,
    )
    hosts = (*options.allowed_host, *(LOCAL_NAMES if local else ()))
    app = create_app(
        classifiers,
        limits=limits,
        token=token,
        hosts=hosts or None,
        threads=options.threads,
    )
    tls = _tls(options.tls_cert, options.tls_key)
    with _listen(options.host, options.port) as listening:
        shown = f"[{options.host}]" if ":" in options.host else options.host
        port = listening.getsockname()[1]
        scheme = "https" if tls else "http"
        print(f"{scheme}://{shown}:{port} ({', '.join(classifiers)}); Ctrl-C ends it")
        print(DISCLAIMER, flush=True)
        if not local and (token is None or not tls):
            print(f"tumorscope: warning: {_exposed(options.host, token, tls)}", file=sys.stderr)
        config = uvicorn.Config(
            app,
            http=HeaderDeadlineProtocol,
            h11_max_incomplete_event_size=LONGEST_HEADERS,
            root_path=options.root_path,
            proxy_headers=bool(options.proxy),
            forwarded_allow_ips=options.proxy,
            **tls,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=2 * options.timeout + _GRACE,
        )
        # The server answers what it accepted, then raises the signal again: that is a good end.
        signal.signal(signal.SIGTERM, lambda *_: None)
        with contextlib.suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
    return 0


def _token(file: Path | None) -> str | None:
    """Return the token in a file, else that of the environment, else None."""
    if file:
        return read_token(file)
    given = os.environ.get(_TOKEN)
    return checked_token(given, f"${_TOKEN}") if given else None


def _tls(certificate: Path | None, key: Path | None) -> dict[str, Any]:
    """Return uvicorn's options for HTTPS; empty for HTTP.

    Raises:
        DataError: One of the files is missing, or they do not belong together.
    """
    if certificate is None and key is None:
        return {}
    if certificate is None or key is None:
        raise DataError("--tls-cert and --tls-key belong together: give both")
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise DataError(f"{certificate}, {key}: no certificate with its key ({reason})") from None
    return {"ssl_certfile": certificate, "ssl_keyfile": key}


def _exposed(host: str, token: str | None, tls: dict[str, Any]) -> str:
    """Return what is risky about a service that others reach."""
    risks, advice = [], []
    if token is None:
        risks.append(f"anyone who reaches {host} can send files here")
        advice.append("set a token (--token-file)")
    if not tls:
        risks.append("they travel unencrypted" if risks else "files and token travel unencrypted")
        advice.append("use --tls-cert or put TLS in front")
    return f"{', and '.join(risks)}: {', '.join(advice)}"


def _listen(host: str, port: int) -> socket.socket:
    """Open the port.

    Raises:
        DataError: The address is not this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with opening(host, port):
        return socket.create_server((host, port), family=family, backlog=2048)


def _start_log() -> None:
    """Log to standard error what this service and its server say, and nothing else.

    What the libraries that read files say may quote a patient's data.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(lambda record: record.name.partition(".")[0] in ("tumorscope", "uvicorn"))
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, handlers=[handler])
    logging.captureWarnings(True)  # noqa: FBT003  (so the standard library wants it)


def _classifiers(models: list[str], threads: int | None) -> dict[str, Classifier]:
    """Load the models; two with the same title are told apart by a number."""
    loaded: dict[str, Classifier] = {}
    for model in models:
        classifier = Classifier.load(model, threads=threads)
        title = classifier.facts.title
        same = sum(other.facts.title == title for other in loaded.values())
        loaded[f"{title} ({same + 1})" if same else title] = classifier
    return loaded
