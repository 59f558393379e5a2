"""The errors that a user can mend: each message says what, where and what to do, in one line."""


class TumorscopeError(Exception):
    """Something the user gave cannot be used; the message says what to do about it."""


class ArgumentError(TumorscopeError, ValueError):
    """An argument of a function is none that it can take."""


class DataError(TumorscopeError):
    """A data set, or a part of it, cannot be used."""


class RecipeError(TumorscopeError):
    """A recipe holds a field or a value that cannot be used."""


class ModelError(TumorscopeError):
    """A model file or a run folder cannot be used."""


class DivergedError(ModelError):
    """A training has ended in weights that are no numbers."""


class MissingExtraError(TumorscopeError):
    """A command needs packages that a plain install leaves out."""

    def __init__(self, extra: str, missing: str) -> None:
        super().__init__(
            f"this command needs '{missing}', which a plain install leaves out: "
            f"pip install 'tumorscope[{extra}]'"
        )
