"""The errors that are meant for people: each names the thing, the rule and the way out."""


class PreceptorError(ValueError):
    """Something a person can mend; commands print it without a traceback and exit with status 2."""


class RecipeError(PreceptorError):
    """A recipe that cannot be run as it stands."""


class DataError(PreceptorError):
    """A file or folder that does not hold what was expected of it."""


class TrainingError(PreceptorError):
    """Training stopped before it could do harm: a non-finite loss, a broken invariant."""


class StoreError(PreceptorError):
    """Something that the label store cannot do as it was asked."""
