"""Audits a data set: near-duplicates, leaks, shortcuts, suspect files.

The package may be called: `tumorscope.audit(folder)` audits that folder.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tumorscope.audit.audit import Audit


class _CallablePackage(ModuleType):
    """This package; a folder and a function of the public interface have one name."""

    def __call__(self, places: Path | str | Sequence[Path | str]) -> "Audit":
        """Audit folders or tables as one data set.

        Args:
            places: A data set's folder or table, or several.

        Returns:
            What was found; `save` writes it as a page.

        Raises:
            DataError: A place is missing, or there is no picture that can be read.

        Example:
            >>> import tempfile, tumorscope
            >>> from pathlib import Path
            >>> from tumorscope.phantoms.drawing import write_phantoms
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     data = write_phantoms(
            ...         Path(folder) / "data", patients_per_class=2, slices_per_patient=2
            ...     )
            ...     found = tumorscope.audit(data)
            ...     found.save(Path(folder) / "audit.html").name
            'audit.html'
            >>> len(found.files)
            16
        """
        from tumorscope.audit.audit import audit  # noqa: PLC0415  (keeps `import tumorscope` fast)

        given = [places] if isinstance(places, (Path, str)) else places
        return audit([Path(place) for place in given])


sys.modules[__name__].__class__ = _CallablePackage
