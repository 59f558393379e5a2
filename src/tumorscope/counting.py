"""Writes numbers of things for people."""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s where there are none or several.

    >>> counted(1, "image"), counted(1200, "image")
    ('1 image', '1,200 images')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
