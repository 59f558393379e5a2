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

    def __call__(
        self,
        places: Path | str | Sequence[Path | str],
        *,
        predictions: Path | str | None = None,
        off_topic: bool = False,
    ) -> "Audit":
        """Audit folders or tables as one data set.

        Args:
            places: A data set's folder or table, or several.
            predictions: Predictions out of fold, by which likely label errors are ranked: a folder
                of `tumorscope crossval`, or a CSV file.
            off_topic: Whether to look for pictures that are no brain MRI, by the bundled model.

        Returns:
            What was found; `save` writes it as a page.

        Raises:
            DataError: A place is missing, there is no picture that can be read, or the predictions
                are none for these pictures.

        Examples:
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
        return audit([Path(place) for place in given], predictions=predictions, off_topic=off_topic)


sys.modules[__name__].__class__ = _CallablePackage
