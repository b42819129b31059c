"""What a server sees that watches the serving directory while it changes."""

import json
from pathlib import Path

from components.shared.artifacts import directory_sha256
from components.shared.registry.registry import Registry
from components.shared.registry.upkeep import prune, rollback
from tests.unit.shared.registry.registries import in_children, make_saved_model, promote

CHANGES = 100


def test_a_reader_of_the_newest_version_never_fails_while_a_hundred_changes_happen(
    tmp_path: Path,
) -> None:
    """It reads every file of it as a server does, by its path, one after the other.

    A version that is pruned while it is read may go, but at once, and only a version which many
    newer ones have overtaken is pruned.
    """
    serving_dir, stop = tmp_path / "serving", tmp_path / "stop"
    models = [make_saved_model(tmp_path / f"model{n}", f"model {n}") for n in range(2)]
    manifests = [directory_sha256(model) for model in models]
    promote(Registry.open(serving_dir), models[0], "run-0")

    def versions() -> list[int]:
        return sorted(int(path.name) for path in serving_dir.iterdir() if path.name.isdecimal())

    def observe() -> int:
        seen = set()
        ended = False
        while not ended:
            ended = stop.exists()
            newest = versions()[-1]
            found = {
                name: digest
                for name, digest in read(serving_dir / str(newest)).items()
            }  # fmt: skip
            if found not in manifests and newest in versions():
                return 1
            seen.add(newest)
        (tmp_path / "seen").write_text(json.dumps(sorted(seen)))
        return 0

    def read(folder: Path) -> dict[str, str]:
        try:
            return directory_sha256(folder)
        except FileNotFoundError:
            return {}

    def change() -> int:
        registry = Registry.open(serving_dir)
        try:
            for number in range(1, CHANGES + 1):
                if number % 4 == 3:
                    rollback(registry)
                else:
                    promote(registry, models[number % 2], f"run-{number}")
                if number % 20 == 0:
                    prune(registry, 10)
        finally:
            stop.touch()
        return 0

    assert in_children(observe, change) == [0, 0]
    seen = json.loads((tmp_path / "seen").read_text())
    assert len(seen) > CHANGES / 10
    assert seen[-1] == versions()[-1] == 1 + CHANGES + 4
