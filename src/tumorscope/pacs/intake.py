"""Takes received objects into the spool, whichever way they came, or says why not."""

import io
import logging
from dataclasses import dataclass
from typing import Final

from pydicom import FileDataset, dcmread
from pydicom.uid import JPEGLossless

from tumorscope.images.dicom import is_packed
from tumorscope.images.dicom_decoders import can_decode
from tumorscope.images.lossless_jpeg import has_known_predictor
from tumorscope.images.reading import FileInMemory
from tumorscope.pacs.listener_metrics import ListenerMetrics
from tumorscope.pacs.references import MR_CLASSES
from tumorscope.pacs.spool import Spool

_LOG: Final = logging.getLogger(__name__)

SUCCESS: Final = 0x0000
OUT_OF_RESOURCES: Final = 0xA700
DOES_NOT_MATCH: Final = 0xA900
CANNOT_UNDERSTAND: Final = 0xC000
NOT_SUPPORTED: Final = 0x0122
SYNTAX_NOT_SUPPORTED: Final = 0xC122

_NAMES: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")

_PIXELS: Final = {"BitsStored": 16, "SamplesPerPixel": 1}
"""What tells whether a compression is read, and what holds where it is missing."""


@dataclass(frozen=True)
class Taken:
    """What became of an object.

    Attributes:
        status: A status of the storage service (DICOM PS3.4, B.2.3): 0 when it is kept.
        kind: Its SOP class; empty when it cannot be read.
        instance: Its SOP instance; empty when it cannot be read.
        series: What the spool knows its series by; empty when it was not tried to keep it.
    """

    status: int
    kind: str = ""
    instance: str = ""
    series: str = ""


class Intake:
    """Where received objects are checked and kept; safe to use from several threads.

    Args:
        spool: Where they are kept.
        metrics: Told of each object.
    """

    def __init__(self, spool: Spool, metrics: ListenerMetrics) -> None:
        self._spool = spool
        self._metrics = metrics

    def take(
        self, content: bytes, *, way: str, sender: int, promised: tuple[str, str] | None = None
    ) -> Taken:
        """Keep an object; when the status is 0 the disk holds it.

        Args:
            content: The object as a DICOM file.
            way: How it came, for the metrics.
            sender: Who sends it and will call `end`.
            promised: The SOP class and instance that the sender says it is.
        """
        taken = self._take(content, sender, promised)
        self._metrics.received(way, kept=taken.status == SUCCESS)
        return taken

    def end(self, sender: int, series: list[str], *, well: bool) -> None:
        """Note that a sender of these series has ended, in order or not."""
        self._spool.end(sender, series, well=well)

    def _take(self, content: bytes, sender: int, promised: tuple[str, str] | None) -> Taken:
        try:
            # (To read a packed one would unpack all of it.)
            packed = is_packed(FileInMemory("", content))
            header = None if packed else _header(content)
        except Exception as error:  # noqa: BLE001  (pydicom raises nearly anything on damage)
            _LOG.warning("an object that cannot be read (%s), refused", type(error).__name__)
            return Taken(CANNOT_UNDERSTAND)
        if header is None:
            _LOG.warning("an object that is packed as a whole (Deflated), refused")
            return Taken(SYNTAX_NOT_SUPPORTED)
        study, series, kind, instance = (str(header.get(name) or "") for name in _NAMES)
        if (kind, instance) != (promised or (kind, instance)) or not study or not series:
            status, why = DOES_NOT_MATCH, "is not what its sender says"
        elif kind not in MR_CLASSES or not instance:
            status, why = NOT_SUPPORTED, "is no MR image"
        elif not _can_be_read(header, content):
            status, why = SYNTAX_NOT_SUPPORTED, "is compressed in a way that is not read"
        else:
            name = f"{study}|{series}"
            try:
                self._spool.keep(content, series=name, instance=instance, sender=sender)
            except OSError as error:
                _LOG.warning("an object could not be kept (%s), refused", error.strerror)
                return Taken(OUT_OF_RESOURCES, kind, instance, name)
            return Taken(SUCCESS, kind, instance, name)
        _LOG.warning("an object that %s, refused", why)
        return Taken(status, kind, instance)


def _header(content: bytes) -> FileDataset:
    return dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=[*_NAMES, *_PIXELS])


def _can_be_read(header: FileDataset, content: bytes) -> bool:
    """Tell whether an object's compression is read."""
    syntax = header.file_meta.TransferSyntaxUID
    if syntax == JPEGLossless and not has_known_predictor(content):
        return False
    try:
        bits, samples = (int(header.get(name) or usual) for name, usual in _PIXELS.items())
    except (TypeError, ValueError):  # (Damaged: reading the image tells more.)
        return True
    return not syntax.is_encapsulated or can_decode(syntax, bits=bits, samples=samples)
