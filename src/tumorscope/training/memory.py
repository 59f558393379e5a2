"""Tells the C library to keep memory that a training step frees, for the next step."""

import ctypes
import platform
from typing import Final

# Parameters of mallopt(3): the sizes above which memory is mapped, and given back, and the
# margin that is asked for.
_MMAP_THRESHOLD: Final = (-3, 1 << 30)
_TRIM_THRESHOLD: Final = (-1, (1 << 31) - 1)
_TOP_PAD: Final = (-2, 256 << 20)


def keep_freed_memory() -> bool:
    """Keep freed memory in the process instead of giving it back to the system.

    A training step on a CPU allocates and frees the same large blocks again and again; glibc maps
    and unmaps each, and the page faults then cost more than a quarter of the time.

    Returns:
        Whether the C library took the setting; False where it is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(*setting) == 1 for setting in (_MMAP_THRESHOLD, _TRIM_THRESHOLD, _TOP_PAD))
