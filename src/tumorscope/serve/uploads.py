"""Reads the files of a multipart request into memory; nothing is written to a disk."""

import asyncio
from collections.abc import AsyncGenerator

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from tumorscope.images.reading import FileInMemory
from tumorscope.serve.limits import Admission, Limits, RefusedRequestError, too_large

FIELD = "files"
"""The form's field that holds the files."""

_OTHER_FIELDS = 8
"""Forms with more other fields are not meant for us."""


async def read_files(request: Request, admission: Admission, limits: Limits) -> list[FileInMemory]:
    """Read the files of a request while it arrives.

    Args:
        request: A request with a multipart form.
        admission: Told of every byte, so that too many are noticed when they come, not afterwards.
        limits: How many files, and how long it may take.

    Raises:
        RefusedRequestError: The form is damaged, without files, too large, or too slow.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        raise RefusedRequestError(415, f"send a multipart/form-data form with the field '{FIELD}'")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > limits.body:
        raise RefusedRequestError(413, too_large(limits))
    parser = _Parser(
        request.headers,
        _counted(request, admission, limits.stall),
        max_files=limits.files,
        max_fields=_OTHER_FIELDS,
    )
    parser.spool_max_size = limits.body + 1
    try:
        async with asyncio.timeout(limits.seconds):
            form = await parser.parse()
    except TimeoutError:
        reason = f"the request did not arrive within {limits.seconds:g} s"
        raise RefusedRequestError(408, reason) from None
    except MultiPartException as error:
        if "Too many files" in error.message:
            reason = f"more than {limits.files} files in one request: send fewer at a time"
            raise RefusedRequestError(413, reason) from None
        raise RefusedRequestError(400, f"a damaged form ({error.message})") from None
    if not parser.ended:
        raise RefusedRequestError(400, "a damaged form (it ends too early)")
    uploads = [item for item in form.getlist(FIELD) if isinstance(item, UploadFile)]
    if not uploads:
        raise RefusedRequestError(422, f"no files: send them in the form's field '{FIELD}'")
    odd = {name for name, item in form.multi_items() if _is_misplaced(name, item)}
    if odd:
        reason = f"send each file in the form's field '{FIELD}', with a file name"
        raise RefusedRequestError(422, f"{reason}; not so: {', '.join(map(repr, sorted(odd)))}")
    files = []
    for number, upload in enumerate(uploads):
        name = upload.filename or f"file {number}"
        files.append(FileInMemory(name, upload.file.read(), upload=number + 1))
        upload.file.close()
    return files


def _is_misplaced(name: str, item: UploadFile | str) -> bool:
    """Tell a file in another field, and what stands in ours but is none; other fields may be."""
    return isinstance(item, UploadFile) != (name == FIELD)


class _Parser(MultiPartParser):
    """Starlette's parser of forms, which keeps files in memory up to `spool_max_size` bytes.

    Attributes:
        ended: Whether the form's own end came.
    """

    ended = False

    def on_end(self) -> None:
        """Note the end."""
        super().on_end()
        self.ended = True


async def _counted(
    request: Request, admission: Admission, stall: float
) -> AsyncGenerator[bytes, None]:
    stream = request.stream()
    while True:
        try:
            chunk = await asyncio.wait_for(anext(stream), stall)
        except StopAsyncIteration:
            return
        except TimeoutError:
            reason = f"nothing of the request arrived for {stall:g} s"
            raise RefusedRequestError(408, reason) from None
        admission.take(len(chunk))
        yield chunk
