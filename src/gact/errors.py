"""The roots of this package's errors and warnings."""


class GactError(Exception):
    """Any error of this package that is no wrong argument (those are ``TypeError`` and ``ValueError``)."""


class GactWarning(UserWarning):
    """Any warning of this package."""


class MissingExtraError(GactError, ImportError):
    """An optional package is not installed; the message says how to get it."""
