"""Writes an audit as one self-contained HTML page with pictures of the worst cases."""

import base64
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import jinja2
from PIL import Image

from tumorscope import RESEARCH_USE_ONLY
from tumorscope.audit.audit import Audit, AuditedFile
from tumorscope.audit.findings import findings, percent, verdict
from tumorscope.datasets.catalogue import Slice
from tumorscope.datasets.pictures import read_picture
from tumorscope.near_duplicates.detection import NearDuplicate

_PAIRS_SHOWN: Final = 12
_FILES_SHOWN: Final = 24
_UNREADABLE_SHOWN: Final = 200
_PICTURE_SIDE: Final = 192


@dataclass(frozen=True)
class _Picture:
    """A picture and what stands below it; `source` is a data URI."""

    source: str
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Sheet:
    """A contact sheet: rows of one or two pictures each."""

    title: str
    text: str
    rows: tuple[tuple[_Picture, ...], ...]
    total: int


def render_page(audit: Audit) -> str:
    """Render the page.

    Args:
        audit: From `tumorscope.audit.audit.audit`; the files must still be there.

    Returns:
        HTML with everything in it, pictures as well.

    Raises:
        UnreadableImageError: A picture that was read before cannot be read any more.
    """
    rows = audit.balance()
    return _template().render(
        research_use_only=RESEARCH_USE_ONLY,
        audit=audit,
        folder_names=[folder.resolve().name for folder in audit.folders],
        verdict=verdict(audit),
        findings=findings(audit),
        balance={
            side or "all": [row for row in rows if row.split == side]
            for side in ("", *audit.splits)
        },
        most_files=max((row.files for row in rows), default=1),
        sheets=[sheet for sheet in _sheets(audit) if sheet.rows],
        unreadable=audit.unreadable[:_UNREADABLE_SHOWN],
    )


@cache
def _template() -> jinja2.Template:
    """Load the page's template; every text in it is escaped."""
    surroundings = jinja2.Environment(
        loader=jinja2.PackageLoader("tumorscope.audit"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    surroundings.filters["count"] = "{:,}".format
    surroundings.filters["percent"] = percent
    return surroundings.get_template("audit.html")


def _sheets(audit: Audit) -> Iterator[_Sheet]:
    """Choose the worst cases, most severe first."""
    across = set(audit.pairs_across_splits)
    conflicts = set(audit.label_conflicts)
    yield _pair_sheet(
        audit,
        "One slice under two labels",
        "At least one of the two labels is wrong.",
        audit.label_conflicts,
    )
    suspects = audit.label_errors.ranked if audit.label_errors else ()
    yield _Sheet(
        "Likely label errors",
        "By predictions, the likeliest first: given class → likely class. A person must decide.",
        tuple(
            (_picture(audit.files[item.place], (f"{item.given} → {item.likely}",)),)
            for item in suspects[:_FILES_SHOWN]
        ),
        len(suspects),
    )
    off_topic = audit.off_topic or ()
    yield _Sheet(
        "Off-topic pictures",
        "The bundled model does not support them: most unlike brain MRI first.",
        tuple(
            (_picture(audit.files[item.place], (item.reason,)),)
            for item in off_topic[:_FILES_SHOWN]
        ),
        len(off_topic),
    )
    yield _pair_sheet(
        audit,
        "Near-duplicates across the split",
        "A network that has seen the one in training knows the other in the test.",
        audit.pairs_across_splits,
    )
    rest = [pair for pair in audit.pairs if pair not in across and pair not in conflicts]
    for kind, title, text in (
        (
            "mirrored",
            "Mirrored near-duplicates",
            "Left and right changed; a plain hash does not see it.",
        ),
        ("flipped", "Flipped near-duplicates", "Upside down or turned by half a circle."),
        ("turned", "Turned near-duplicates", "Turned by a quarter or by some degrees."),
        (
            "contrast",
            "Contrast-changed near-duplicates",
            "Other brightness, contrast or sharpness.",
        ),
        (
            "near",
            "Near copies",
            "The same picture, saved again, resized, cropped anew or turned a little.",
        ),
    ):
        yield _pair_sheet(audit, title, text, [pair for pair in rest if pair.kind == kind])
    yield _Sheet(
        "Odd files",
        "Their size, border or brightness is unlike the rest.",
        tuple(
            (_picture(audit.files[place], (reason,)),)
            for place, reason in list(audit.odd.items())[:_FILES_SHOWN]
        ),
        len(audit.odd),
    )


def _pair_sheet(audit: Audit, title: str, text: str, pairs: Sequence[NearDuplicate]) -> _Sheet:
    return _Sheet(
        title,
        text,
        tuple(
            tuple(_picture(item, _pair_lines(audit, item, pair)) for item in _files(audit, pair))
            for pair in _one_a_cluster(audit, pairs)
        ),
        len(pairs),
    )


def _one_a_cluster(audit: Audit, pairs: Iterable[NearDuplicate]) -> list[NearDuplicate]:
    """Choose pairs of different slices: of every kind some, the surest first."""
    shown: dict[tuple[str, int], NearDuplicate] = {}
    ranks: Counter[str] = Counter()
    order: dict[NearDuplicate, int] = {}
    for pair in sorted(pairs, key=lambda pair: -pair.similarity):
        if shown.setdefault((pair.kind, audit.files[pair.first].cluster), pair) is pair:
            order[pair] = ranks[pair.kind]
            ranks[pair.kind] += 1
    return sorted(order, key=lambda pair: order[pair])[:_PAIRS_SHOWN]


def _files(audit: Audit, pair: NearDuplicate) -> tuple[AuditedFile, AuditedFile]:
    return audit.files[pair.first], audit.files[pair.second]


def _pair_lines(audit: Audit, item: AuditedFile, pair: NearDuplicate) -> tuple[str, ...]:
    """Say what tells the two apart: the side, the label, and on the second how they are alike."""
    first, second = _files(audit, pair)
    lines = []
    if first.split != second.split:
        lines.append(item.split)
    if first.label != second.label:
        lines.append(item.label)
    if item is second:
        lines.append(f"{pair.kind}, similarity {pair.similarity:.2f}")
    return tuple(lines)


def _picture(item: AuditedFile, lines: tuple[str, ...]) -> _Picture:
    return _Picture(_thumbnail(item.item), item.name, lines)


def _thumbnail(item: Slice) -> str:
    """Return a small grey JPEG of a picture as a data URI."""
    picture = Image.fromarray(read_picture(item))
    picture.thumbnail((_PICTURE_SIDE, _PICTURE_SIDE))
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
