"""DICOM objects of answers, and the network over which hospitals send and receive them.

Needs the extra `[dicom]` (highdicom for the objects, pynetdicom and dicomweb-client for the
network).
"""

from tumorscope.errors import MissingExtraError

try:
    import dicomweb_client  # noqa: F401
    import filelock  # noqa: F401
    import highdicom  # noqa: F401
    import prometheus_client  # noqa: F401
    import pynetdicom  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("dicom", error.name or "highdicom") from None
