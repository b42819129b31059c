"""The mode of a volume's root folder."""

from pathlib import Path

import pytest

from components.prepare.volume import make_writable


@pytest.mark.parametrize("mode", [0o755, 0o700, 0o2755, 0o1755])
def test_a_volume_of_its_owner_alone_becomes_writable(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    assert make_writable(tmp_path) == f"mode {mode:o} changed to {mode | 0o777:o}"
    assert tmp_path.stat().st_mode & 0o7777 == mode | 0o777


def test_a_writable_volume_stays_as_it_is(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    assert make_writable(tmp_path) == "writable as it is"


def test_a_mode_that_cannot_be_changed_is_left() -> None:
    assert make_writable("/proc/self") == "left at mode 555 (Operation not permitted)"
