"""Pictures in, the model's input out: reading and the one preparation (NumPy and Pillow only)."""

from tumorscope.images.preparation import PREPARATION_VERSION, cut_out, find_head, prepare
from tumorscope.images.reading import PICTURE_SUFFIXES, UnreadableImageError, read_slice

__all__ = [
    "PICTURE_SUFFIXES",
    "PREPARATION_VERSION",
    "UnreadableImageError",
    "cut_out",
    "find_head",
    "prepare",
    "read_slice",
]
