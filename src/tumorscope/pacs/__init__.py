"""Answers as hospitals speak them: DICOM objects out of answers, images in over the network.

Needs the extra `[dicom]` (highdicom for the objects, pynetdicom for the network).
"""

from tumorscope.errors import MissingExtraError

try:
    import filelock  # noqa: F401
    import highdicom  # noqa: F401
    import pynetdicom  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("dicom", error.name or "highdicom") from None
