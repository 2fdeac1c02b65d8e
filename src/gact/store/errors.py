"""What can go wrong with a store, by name, so that training can go on with another one."""

from __future__ import annotations

import errno
from pathlib import Path

from ..errors import GactError


class StoreError(GactError, RuntimeError):
    """A store cannot take or give back data."""


class DiskFullError(StoreError):
    """There is no space left, or a quota is used up."""


class DirectoryGoneError(StoreError):
    """The directory does not exist."""


class ReadOnlyError(StoreError):
    """The directory may not be written to."""


class DamagedError(StoreError):
    """What was read is not what was written."""


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE}
_FORBIDDEN = {errno.EROFS, errno.EACCES, errno.EPERM}


def store_error(error: OSError, directory: Path) -> StoreError:
    """The named error for what the system said of a directory."""
    if error.errno in _FULL:
        return DiskFullError(
            f"the disk of {directory} is full ({error.strerror}). What could not be written is still in memory, so a "
            "backward pass of what was saved works. Free space, choose another directory, or use offload='cpu' or None."
        )
    if error.errno in _GONE:
        return DirectoryGoneError(
            f"{directory} is not a directory ({error.strerror}). Make it, choose another one, or use offload='cpu' or "
            "None."
        )
    if error.errno in _FORBIDDEN:
        return ReadOnlyError(
            f"{directory} cannot be written to ({error.strerror}). Choose a directory that can, or use offload='cpu' "
            "or None."
        )
    return StoreError(
        f"reading or writing a file in {directory} failed ({error.strerror}). Choose another directory, or use "
        "offload='cpu' or None."
    )


def damaged(directory: Path) -> DamagedError:
    """The error for a part that came back with another checksum."""
    return DamagedError(
        f"what was read from the file in {directory} is not what was written to it: its checksum differs. The step's "
        "gradient cannot be had any more. Check the disk, and repeat the step with another directory, offload='cpu' or "
        "None."
    )
