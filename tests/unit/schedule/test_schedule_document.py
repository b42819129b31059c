"""The YAML of schedules: what is wrong is told with its file and line."""

from pathlib import Path

import pytest

from components.shared.errors import InputError
from pipeline.schedule.document import read_schedules

GOOD = 'name: nightly\ncron: "0 2 * * *"\nserving_dir: s3://m\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "schedule.yaml"


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD + "sourc: tfds\n", 4, "did you mean 'source'?"),
        (GOOD + "name: again\n", 4, "'name': stands there twice"),
        (GOOD + "enabled: 'yes'\n", 4, "enabled: must be true or false"),
        (GOOD + "enabled: null\n", 4, "enabled: must be true or false"),
        (GOOD + "max_concurrency: true\n", 4, "must be a whole number"),
        (GOOD + "max_concurrency: 11\n", 4, "must be from 1 to 10"),
        (GOOD + "experiment: 7\n", 4, "must be a text"),
        (GOOD + "experiment: ' '\n", 4, "experiment is blank"),
        (GOOD + "source: reviews\n", 4, "source 'reviews'"),
        (GOOD + "preset: defalt\n", 4, "preset 'defalt': unknown"),
        (GOOD + "set:\n  num_epochs: 3\n  learning_rat: 1\n", 6, "'learning_rate'?"),
        (GOOD + "set:\n  num_epochs: x\n", 5, "num_epochs=x"),
        (GOOD + "set:\n  seed: 1\n  seed: 2\n", 6, "'seed': stands there twice"),
        (GOOD + "set: [num_epochs=3]\n", 4, "set: must be KEY: VALUE lines"),
        (GOOD + "kubernetes:\n  imag: x\n", 5, "did you mean 'image'?"),
        (GOOD + "kubernetes:\n  env: A=b\n", 5, "env: must be a list of texts"),
        (GOOD + "kubernetes:\n  accelerator_count: -1\n", 5, "accelerator-count"),
        (GOOD + "time_zone: Europe/Zuerich\n", 4, "time_zone 'Europe/Zuerich': unknown"),
        (GOOD + "service_account: Not_A_Name\n", 4, "service_account"),
        ('name: -x\ncron: "@daily"\nserving_dir: s3://m\n', 1, "name '-x'"),
        ('cron: "0 0 30 2 *"\nname: a\nserving_dir: s3://m\n', 1, "five years"),
        ("name: a\ncron: * * * * *\n", 2, "in quotes"),
        ("name: a\n", 1, "missing: cron, serving_dir"),
        ("name: [a\n", 2, "not YAML"),
        ("- name: a\n", 1, "not a schedule"),
        ("just words\n", 1, "not a schedule"),
        ("schedules:\n  name: a\n", 2, "must be a list"),
        ("schedules:\n- a\n", 2, "not a schedule"),
        ("schedules: []\nname: a\n", 2, "stands beside 'schedules'"),
        (f"{GOOD}---\n{GOOD}", 5, "stands there twice"),
        ("<<: {a: b}\n", 1, "a key must be a plain word"),
        (GOOD + "? [a]\n: b\n", 4, "a key must be a plain word"),
        (GOOD + "set: {seed: !!python/name:os.system x}\n", 4, "not a value"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_line(file: Path, text: str, line: int, words: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError) as error:
        read_schedules(file)
    assert str(error.value).startswith(f"{file}:{line}: ")
    assert words in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n", "schedules: []\n"])
def test_a_file_without_a_schedule_is_told(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match="holds no schedule"):
        read_schedules(file)


def test_a_file_that_cant_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_schedules(tmp_path)
    (tmp_path / "latin").write_bytes(b"name: \xe9\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_schedules(tmp_path / "latin")


def test_one_name_may_stand_in_two_namespaces(file: Path) -> None:
    file.write_text(f"{GOOD}namespace: a\n---\n{GOOD}namespace: b\n")
    assert [schedule.namespace for schedule in read_schedules(file)] == ["a", "b"]


def test_what_is_left_out_is_safe(file: Path) -> None:
    file.write_text(GOOD)
    (schedule,) = read_schedules(file)
    assert (schedule.catchup, schedule.max_concurrency) == (False, 1)
    assert schedule.enabled and schedule.skip_unchanged
