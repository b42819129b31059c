"""Which Beam runners preprocessing takes, where their workers find files, and their errors."""

import shutil
from pathlib import Path

import pytest

from components.preprocess.preprocess import preprocess
from components.preprocess.shared_files import writing
from components.shared.artifacts import directory_sha256
from components.shared.config import PreprocessConfig
from components.shared.errors import Failure, InputError
from components.shared.reviews import split_shards

OUTPUTS = ("examples", "vocabulary", "statistics")


def run(reviews: Path, root: Path, **config: object) -> None:
    config = {"vocabulary_size": 60, "max_length": 32, **config}
    preprocess(reviews, PreprocessConfig.from_mapping(config), *(root / name for name in OUTPUTS))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "shared"
    path.mkdir()
    return path


def test_a_shared_folder_changes_no_byte_and_is_cleared(prepared, tmp_path, shared) -> None:
    run(prepared.reviews, tmp_path / "made", beam_shared_dir=str(shared))
    for name in OUTPUTS:
        assert directory_sha256(tmp_path / "made" / name) == directory_sha256(
            getattr(prepared, name)
        )
    assert list(shared.iterdir()) == []


def test_a_shared_folder_is_cleared_after_an_error_too(prepared, tmp_path, shared) -> None:
    reviews = tmp_path / "reviews"
    shutil.copytree(prepared.reviews, reviews)
    shard = split_shards(reviews, "test")[0]
    shard.write_bytes(shard.read_bytes()[:-3])
    with pytest.raises(InputError, match=f"{shard.name}: a corrupt TFRecord file") as error:
        run(reviews, tmp_path / "made", beam_shared_dir=str(shared))
    assert "\n" not in str(error.value)
    assert "while running" not in str(error.value)
    assert list(shared.iterdir()) == list((tmp_path / "made").iterdir()) == []


@pytest.mark.parametrize(
    ("shared_dir", "message"),
    [
        ("nowhere", "beam_shared_dir=nowhere: no such folder here"),
        ("ftp://host/folder", "beam_shared_dir=ftp://host/folder: give a local path, or a URL"),
    ],
)
def test_a_shared_folder_that_cannot_be_used_is_named(prepared, tmp_path, shared_dir, message):
    with pytest.raises(InputError, match=message):
        run(prepared.reviews, tmp_path, beam_shared_dir=shared_dir)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("runner", "beam_args"),
    [
        ("PortableRunner", "--job_endpoint=localhost:1"),
        ("FlinkRunner", "--flink_master=flink:8081"),
        ("FlinkRunner", "--environment_type=EXTERNAL --environment_config=localhost:1"),
        ("SparkRunner", "--spark_master_url=spark://spark:7077"),
    ],
)
def test_workers_of_a_cluster_need_a_shared_folder(prepared, tmp_path, runner, beam_args) -> None:
    with pytest.raises(InputError, match=f"beam_runner={runner}: .* set beam_shared_dir"):
        run(prepared.reviews, tmp_path, beam_runner=runner, beam_args=beam_args)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("runner", "beam_args", "kind", "message"),
    [
        ("NoSuchRunner", "", InputError, "Unexpected pipeline runner: NoSuchRunner"),
        ("no.such.Runner", "", InputError, "No module named 'no'"),
        ("FlinkRunner", "--environment_type=LOOPBAK", InputError, "environment type: LOOPBAK"),
        ("FlinkRunner", "--flink_version=1.2", InputError, "Beam says: .*invalid choice: '1.2'"),
        ("PortableRunner", "--environment_type=LOOPBACK", InputError, "specify a --job_endpoint"),
        ("FlinkRunner", "--flink_job_server_jar=/no.jar", InputError, 'jar URL "/no.jar"'),
        ("DirectRunner", "--direct_num_workers=-1", InputError, "beam_args=.* is below 0"),
        ("DirectRunner", "--direct_num_workers=two", InputError, "Beam says: .*int value: 'two'"),
        ("DataflowRunner", "", InputError, "Missing required option: project"),
        (
            "PortableRunner",
            "--job_endpoint=localhost:1 --job_server_timeout=1 --environment_type=LOOPBACK",
            Failure,
            "no job server answered at localhost:1 within 1 s",
        ),
        (
            "FlinkRunner",
            f"--flink_job_server_jar={__file__} --job_server_java_launcher=no-java",
            Failure,
            "there is no no-java here",
        ),
        (
            "FlinkRunner",
            "--flink_job_server_jar=http://localhost:1/a.jar --jar_cache_dir={root}/jars",
            Failure,
            "Unable to fetch remote job server jar at http://localhost:1/a.jar",
        ),
    ],
)
def test_what_beam_cannot_do_is_said_in_one_line(
    prepared, tmp_path, runner, beam_args, kind, message
) -> None:
    root = tmp_path / "made"
    root.mkdir()
    with pytest.raises(kind, match=message) as error:
        run(
            prepared.reviews,
            root,
            beam_runner=runner,
            beam_args=beam_args.format(root=tmp_path),
        )
    assert type(error.value) is kind
    assert "\n" not in str(error.value)
    assert list(root.iterdir()) == []


def test_a_file_that_is_written_twice_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    location = tmp_path / "folder" / "file"
    with writing(str(location)) as first:
        first.write_text("the same")
        with writing(str(location)) as second:
            second.write_text("the same")
            assert not location.exists()
        assert location.read_text() == "the same"
    with pytest.raises(RuntimeError), writing(str(location)) as third:
        third.write_text("half")
        raise RuntimeError
    assert [path.read_text() for path in location.parent.iterdir()] == ["the same"]
