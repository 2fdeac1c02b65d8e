"""The wheel: one for all later versions of Python and torch, without sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from gact.ops import cpu

pytestmark = [
    pytest.mark.skipif(not cpu.available(), reason="there is no compiler, or the C++ extension is not wanted"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the symbols are read from an ELF file"),
]

ROOT = Path(__file__).parents[2]
NEEDED = ("src", "csrc", "setup.py", "pyproject.toml", "README.md", "LICENSE")
HEADERS = Path(torch.__file__).parent / "include" / "torch" / "csrc"
SHIMS = (HEADERS / "inductor/aoti_torch/c/shim.h", HEADERS / "stable/c/shim.h")
"""Where torch declares the C functions whose meaning it keeps from version to version."""
RUNTIMES = ("GLIBC_", "GLIBCXX_", "CXXABI_", "GCC_")
STANDARD = re.compile("_ZN?K?St")
"""Of the namespace std: torch's libraries export some of them again, without a version."""
OPTIONAL = {"__gmon_start__", "_ITM_deregisterTMCloneTable", "_ITM_registerTMCloneTable"}
LATER: set[str] = set()
"""Weak: what torch has from a later release on, and the kernels do without."""


def build(place: Path, **environment: str) -> Path:
    """The wheel of a copy of the sources, so that nothing built before gets into it."""
    sources = place / "sources"
    for name in NEEDED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (sources / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, sources / name)
    for built in (sources / "src").rglob("*.so"):
        built.unlink()
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "-w"]
    environment = {**os.environ, **environment}
    done = subprocess.run([*command, str(place), str(sources)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return next(place.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled without optimization, which takes less than half the time."""
    place = tmp_path_factory.mktemp("wheel")
    compiler = place / "compiler"
    compiler.write_text(f'#!/bin/sh\nexec {os.environ.get("CXX", "c++")} "$@" -O0\n')
    compiler.chmod(0o755)
    return build(place, CXX=str(compiler))


@pytest.fixture(params=["of the wheel", "loaded"])
def extension(request: pytest.FixtureRequest, wheel: Path, tmp_path: Path) -> Path:
    """That of the wheel, and the optimized one that all other tests run."""
    if request.param == "loaded":
        path = cpu._path()
        assert path is not None
        return path
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract("gact/_C.abi3.so", tmp_path))


def undefined(library: Path) -> dict[str, tuple[str, bool]]:
    """Symbols that others must define: the version asked for, and whether it may be missing (weak)."""
    elffile = pytest.importorskip("elftools.elf.elffile")
    with library.open("rb") as file:
        elf = elffile.ELFFile(file)
        needs = elf.get_section_by_name(".gnu.version_r")
        versions = {entry["vna_other"]: entry.name for _, entries in needs.iter_versions() for entry in entries}
        numbers = elf.get_section_by_name(".gnu.version")
        return {
            symbol.name: (versions.get(numbers.get_symbol(i)["ndx"], ""), symbol["st_info"]["bind"] == "STB_WEAK")
            for i, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols())
            if symbol.name and symbol["st_shndx"] == "SHN_UNDEF"
        }


def needed(library: Path) -> set[str]:
    elffile = pytest.importorskip("elftools.elf.elffile")
    with library.open("rb") as file:
        tags = elffile.ELFFile(file).get_section_by_name(".dynamic").iter_tags("DT_NEEDED")
        return {tag.needed.split(".so")[0] for tag in tags}


def test_wheel_serves_all_later_pythons(wheel: Path) -> None:
    assert re.fullmatch(r"gact-[\d.]+-cp310-abi3-linux_\w+\.whl", wheel.name)


def test_a_wheel_without_kernels_serves_every_machine(tmp_path: Path) -> None:
    wheel = build(tmp_path, CC="false", CXX="false")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "gact/compressor.py" in names
    assert not [name for name in names if name.endswith((".so", ".cpp", ".h"))]


def test_wheel_has_no_sources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    others = {name for name in names if name.startswith("gact/") and Path(name).suffix not in (".py", ".so")}
    assert others == {"gact/py.typed", "gact/page/page.css", "gact/page/page.js"}
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gact"}
    assert {f"gact/{path.relative_to(ROOT / 'src' / 'gact')}" for path in (ROOT / "src").rglob("*.py")} <= set(names)


def test_wheel_uses_stable_python_only(wheel: Path) -> None:
    pytest.importorskip("abi3audit")
    command = [sys.executable, "-m", "abi3audit", "--strict", "--verbose", str(wheel), str(cpu._path())]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_extension_uses_stable_torch_only(extension: Path) -> None:
    declared = set(re.findall(r"\b((?:aoti_)?torch_\w+)\s*\(", "".join(shim.read_text() for shim in SHIMS)))
    symbols = undefined(extension)
    others = {
        name
        for name, (version, _) in symbols.items()
        if not (version.startswith(RUNTIMES) or STANDARD.match(name) or name in OPTIONAL | declared)
    }
    assert not others, "neither of the C and C++ libraries nor of torch's C functions"
    weak = {name for name, (_, weak) in symbols.items() if weak}
    assert weak & declared == LATER


def test_extension_links_no_python_and_no_python_side_of_torch(extension: Path) -> None:
    libraries = needed(extension)
    assert libraries <= {"libc10", "libtorch", "libtorch_cpu", "libstdc++", "libm", "libgcc_s", "libc"}
