"""Builds the C++ kernels; everything else about the package is in pyproject.toml.

The extension uses the stable ABIs of Python (cp310) and LibTorch (2.10), so one wheel serves all later versions of
both. If the compiler is missing or fails the package is built without it and runs on plain torch, unless
GACT_REQUIRE_EXTENSION=1. With GACT_SANITIZE=1 the kernels look after their memory: for ``make asan``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel

try:
    from torch.utils.cpp_extension import BuildExtension, CppExtension
except ImportError:
    sys.exit(
        "gact needs torch to build its kernels: run `pip install torch` first, then "
        "`pip install --no-build-isolation .` (a CPU build of torch is enough: add `--index-url https://download.pytorch.org/whl/cpu`)."
    )

SANITIZE = os.environ.get("GACT_SANITIZE", "0") == "1"
REQUIRED = os.environ.get("GACT_REQUIRE_EXTENSION", "0") == "1"
SANITIZERS = (
    "-O1",
    "-g",
    "-fno-omit-frame-pointer",
    "-fsanitize=address,undefined",
    "-fno-sanitize=bounds",  # with it gcc 12 does not get to the end of the kernels for AVX-512
    "-fno-sanitize-recover=undefined",
)
"""What ``make asan`` builds with."""
SOURCES = sorted(str(path) for path in Path("csrc").glob("*.cpp"))
HEADERS = sorted(str(path) for path in Path("csrc").glob("**/*.h"))


class BuildKernels(BuildExtension):
    """Builds the kernels if it can, and says what happens if it cannot."""

    def run(self) -> None:
        """Build; without the extension required, turn a failure into a message."""
        try:
            super().run()
        except Exception as error:
            if REQUIRED:
                raise
            print(
                f"\ngact: building the C++ kernels failed ({type(error).__name__}: {error}).\n"
                "gact: the package is installed without them: the same numbers from plain torch, many times slower.\n"
                "gact: install a C++17 compiler (g++ 9, clang 10 or later) and reinstall; "
                "GACT_REQUIRE_EXTENSION=1 makes this an error.\n",
                file=sys.stderr,
            )


class NamedWheel(bdist_wheel):
    """Names a wheel for what it holds: one without the kernels serves every machine."""

    def run(self) -> None:
        """Build first, to see whether there are kernels."""
        self.run_command("build")
        built = self.get_finalized_command("build_ext")
        if not Path(built.get_ext_fullpath(kernels.name)).exists():
            self.distribution.ext_modules = None
            self.root_is_pure, self.py_limited_api = True, False
            built.extensions = []
        super().run()


kernels = CppExtension(
    "gact._C",
    SOURCES,
    depends=HEADERS,
    include_dirs=["csrc"],
    py_limited_api=True,
    optional=not REQUIRED,
    define_macros=[("TORCH_TARGET_VERSION", "0x020a000000000000")],
    extra_compile_args=[
        "-std=c++17",
        *(SANITIZERS if SANITIZE else ("-O3", "-g0")),
        "-fvisibility=hidden",
        "-ffp-contract=off",
        "-fno-math-errno",
        "-fno-trapping-math",
        f"-fmacro-prefix-map={Path.cwd()}/=",  # error messages name the file, not the machine that built it
    ],
    extra_link_args=list(SANITIZERS) if SANITIZE else [],
)

setup(
    ext_modules=[kernels],
    cmdclass={"build_ext": BuildKernels, "bdist_wheel": NamedWheel},
    options={"bdist_wheel": {"py_limited_api": "cp310"}},
)
