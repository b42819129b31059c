"""Takes out of installed packages what the tasks never run: symbols, headers, tests, servers.

Called while the image is built: `python slim.py SITE_PACKAGES`. It needs no binutils, so that any
base image will do. Symbols alone are over 400 MB.
"""

import shutil
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

UNNEEDED = (
    # For compiling against a package.
    "*/include",
    "*/_core/include",
    "**/*.a",
    "**/*.c",
    "**/*.pxd",
    "**/*.pyx",
    "tensorflow/xla_aot_runtime_src",
    # The packages' own tests.
    "**/tests",
    "apache_beam/**/*_test.py",
    "keras/**/*_test.py",
    "tensorflow_datasets/**/*_test.py",
    "apache_beam/examples",
    # TensorBoard's server; writing its logs needs nothing of it.
    "tensorboard_data_server",
    "tensorboard/webfiles.zip",
    # Only for those who convert graphs to StableHLO.
    "tensorflow/compiler/mlir/stablehlo/stablehlo_extension.so",
)
"""What is removed, as patterns relative to site-packages."""

EMPTIED = ("tensorflow/python/profiler/internal/_pywrap_profiler_plugin.so",)
"""Modules that are imported, and not used: of these 90 MB, only to profile another process."""

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_ELF_64_LITTLE = b"\x7fELF\x02\x01"
_NO_BITS = 8


def main(site_packages: Path) -> None:
    """Removes `UNNEEDED`, empties `EMPTIED`, and strips all libraries."""
    for pattern in UNNEEDED:
        for path in list(site_packages.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    for name in EMPTIED:
        (site_packages / name).unlink()
        (site_packages / name).with_suffix(".py").touch()
    freed = sum(map(strip, binaries(site_packages)))
    print(f"{freed / 1e6:,.0f} MB of symbols")


def binaries(folder: Path) -> Iterator[Path]:
    """The libraries and programs below a folder."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                if file.read(len(_ELF_64_LITTLE)) == _ELF_64_LITTLE:
                    yield path


def strip(path: Path) -> int:
    """Cuts off what follows the last segment of a library, which is all that is ever loaded.

    There lie symbols, for debuggers, and the table of sections, for linkers. The dynamic symbols,
    by which libraries find one another, lie within the segments. So the addresses within the file
    stay as they are: tools that move them have broken libraries that patchelf had changed before.

    Returns:
        The number of bytes that were cut off; 0 where something else follows, such as the archive
        of a self-extracting program.
    """
    with path.open("r+b") as file:
        header = list(_HEADER.unpack(file.read(_HEADER.size)))
        segments = _table(file, _SEGMENT, header[5], header[10])
        sections = _table(file, _SECTION, header[6], header[12])
        size = path.stat().st_size
        end = max((offset + length for _, _, offset, _, _, length, *_ in segments), default=size)
        ends = [s[4] + s[5] for s in sections if s[1] != _NO_BITS]
        known = max([end, header[6] + _SECTION.size * len(sections), *ends])
        if not sections or known < size:
            return 0
        header[6] = header[12] = header[13] = 0
        file.seek(0)
        file.write(_HEADER.pack(*header))
        file.truncate(end)
        return size - end


def _table(file: BinaryIO, entry: struct.Struct, offset: int, count: int) -> list[tuple[int, ...]]:
    file.seek(offset)
    return list(entry.iter_unpack(file.read(entry.size * count)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
