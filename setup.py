"""The Cython extensions and the grammar folder; everything else stands in pyproject.toml.

The kernels are optional: where Cython or a compiler is missing the package installs without them and docdb runs on its
pure Python forms, slower and with the same results.
"""

import os
from pathlib import Path

from setuptools import Extension, setup

NATIVE = Path("docdb/_native")
# Names of kernels with commas, or "all": what tests/fuzz/sanitized.py builds, beside and never instead of the usual ones.
SANITIZED = os.environ.get("DOCDB_SANITIZED")
KERNELS = sorted(
    path.stem for path in NATIVE.glob("*.pyx") if SANITIZED in (None, "all") or path.stem in str(SANITIZED).split(",")
)
# No fused multiply-add: the kernels compute what Python's floats give.
FLAGS = ["-O3", "-fno-strict-aliasing", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-cast-function-type",
         "-Wno-missing-field-initializers"]  # fmt: skip
# The first finding ends the process.
SANITIZERS = ["-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all"]
SANITIZED_FLAGS = [*FLAGS[1:], "-fno-wrapv", "-O1", "-g", "-fno-omit-frame-pointer", *SANITIZERS]


def kernels() -> list[Extension]:
    """Return the extensions, or nothing where they were switched off or Cython is missing."""
    if os.environ.get("DOCDB_PURE") == "1":
        return []
    try:
        from Cython.Build import cythonize
    except ImportError:
        return []
    extensions = [
        Extension(
            f"docdb._native.{name}",
            [str(NATIVE / f"{name}.pyx")],
            include_dirs=[str(NATIVE)],
            extra_compile_args=SANITIZED_FLAGS if SANITIZED else FLAGS,
            extra_link_args=SANITIZERS if SANITIZED else [],
            libraries=["dl"],
        )
        for name in KERNELS
    ]
    directives = {
        "language_level": 3,
        "boundscheck": False,
        "wraparound": False,
        "cdivision": True,
        "embedsignature": True,
    }
    built: list[Extension] = cythonize(extensions, compiler_directives=directives)
    for extension in built:
        extension.optional = True  # cythonize does not carry it over
    return built


setup(
    ext_modules=kernels(),
    package_dir={"docdb.grammar": "grammar"},
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
