"""What is in the image, who runs it, and what its commands say."""

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from components.shared.config import EvaluateConfig, IngestConfig, PreprocessConfig, TrainConfig
from pipeline.engine import Engine

NOBODY = "1000650000:0"
RunImage = Callable[..., tuple[int, str]]
CONFIGS = {
    "ingest": IngestConfig,
    "preprocess": PreprocessConfig,
    "train": TrainConfig,
    "export": None,
    "evaluate": EvaluateConfig,
    "push": None,
}


def test_the_image_is_small_and_labelled(engine: Engine, image: str) -> None:
    attributes = engine.client.images.get(image).attrs
    base = engine.client.images.get("python:3.11-slim-bookworm").attrs
    # Some bases are larger than the official one, of 130 MB.
    assert attributes["Size"] - base["Size"] < 1.75e9
    labels = attributes["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert len(labels["org.opencontainers.image.revision"].removesuffix("-dirty")) == 40
    assert attributes["Config"]["User"] == "10001:0"


def test_nothing_is_left_of_the_build(run_image: RunImage) -> None:
    tools = " -o ".join(f"-name {name}" for name in ("uv", "gcc", "cc", "g++", "ld"))
    look = f"find / -xdev -name .git -o -type f \\( {tools} \\) 2>/dev/null; ls -A /build"
    _, found = run_image("sh", "-c", look)
    assert found.count("/") == 1 and "/build" in found, found
    packages = "/opt/venv/lib/python3.11/site-packages"
    status, found = run_image(
        "find", packages, "-name", "tests", "-o", "-name", "pytest", "-o", "-name", "pip"
    )
    assert (status, found) == (0, "")
    _, found = run_image("find", "/root", "/tmp", "/var/tmp", "/home", "-name", "*cache*", user="0")
    assert found == ""


@pytest.mark.parametrize("name", CONFIGS)
def test_each_task_explains_itself(run_image: RunImage, name: str) -> None:
    status, text = run_image(name, "--help", user=NOBODY)
    assert status == 0
    config = CONFIGS[name]
    for field in fields(config) if config else ():
        assert f"--{field.name.replace('_', '-')} " in text
    assert " ".join(text.split()).count("[default: ") >= (len(fields(config)) if config else 0)


def test_a_mistake_ends_with_2(run_image: RunImage, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    status, text = run_image("train", "--num-epochs", "0", user=NOBODY)
    assert (status, "Missing option" in text) == (2, True)
    (tmp_path / "reviews").mkdir()
    outputs = "--examples examples --vocabulary vocabulary --statistics statistics".split()
    status, text = run_image(
        "preprocess", "--reviews", "reviews", *outputs, volume=tmp_path, user=NOBODY
    )
    assert status == 2
    assert "Error: /data/reviews: holds no prepared reviews" in text
    assert "Traceback" not in text
    assert [path.name for path in tmp_path.iterdir()] == ["reviews"]


def test_an_image_without_cuda_is_named_where_an_accelerator_was_promised(
    run_image: RunImage, tmp_path: Path
) -> None:
    for name in ("examples", "vocabulary"):
        (tmp_path / name).mkdir()
    tmp_path.chmod(0o777)
    folders = "--examples examples --vocabulary vocabulary --model model --model-run run".split()
    status, text = run_image("train", "--accelerators", "1", *folders, volume=tmp_path)
    assert status == 1, text
    assert "accelerators: 1 promised, and TensorFlow sees 0" in text
    assert "this image or installation lacks CUDA (libcudart.so.12, " in text
    assert {path.name for path in tmp_path.iterdir()} == {"examples", "vocabulary"}


def test_a_task_runs_alone_as_any_user(
    run_image: RunImage, tmp_path: Path, write_reviews: Callable[..., Path]
) -> None:
    write_reviews(tmp_path / "source", per_class=20)
    tmp_path.chmod(0o777)
    status, text = run_image(
        "ingest", "--source", "source", "--reviews", "reviews", volume=tmp_path, user=NOBODY
    )
    assert status == 0, text
    assert (tmp_path / "reviews" / "summary.json").stat().st_uid == 1_000_650_000


TASKS = """
set -e
imdb-pipeline task ingest --source source --reviews reviews
imdb-pipeline task preprocess --reviews reviews \
  --examples examples --vocabulary vocabulary --statistics statistics
imdb-pipeline task train --preset debug --examples examples --vocabulary vocabulary \
  --model model --model-run model_run
imdb-pipeline task export --model model --vocabulary vocabulary --saved-model saved_model
imdb-pipeline task evaluate --preset debug --saved-model saved_model --reviews reviews \
  --serving-dir serving --evaluation evaluation --min-accuracy 0.5 --min-slice-accuracy 0 \\
  --max-calibration-error 1
imdb-pipeline task push --saved-model saved_model --evaluation evaluation --serving-dir serving \\
  --pushed-model pushed_model
imdb-pipeline predict --serving-dir serving "a delightful film"
"""


def test_every_task_runs_as_a_user_and_a_group_without_names(
    run_image: RunImage, tmp_path: Path, write_reviews: Callable[..., Path]
) -> None:
    write_reviews(tmp_path / "source", per_class=100)
    tmp_path.chmod(0o777)
    names = "import grp, pwd, sys; sys.exit('1234' in str(pwd.getpwall() + grp.getgrall()))"
    assert run_image("python", "-c", names, user="1234:5678") == (0, "")
    status, text = run_image("sh", "-c", TASKS, volume=tmp_path, user="1234:5678")
    assert status == 0, text
    assert '"version": 1' in text
    owner = (tmp_path / "serving" / "1" / "saved_model.pb").stat()
    assert (owner.st_uid, owner.st_gid) == (1234, 5678)


def test_a_folder_of_the_volume_is_not_taken_for_the_projects_own(
    run_image: RunImage, tmp_path: Path
) -> None:
    for name in ("pipeline", "components", "kfp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit(77)\n")
    tmp_path.chmod(0o777)
    assert run_image("ingest", "--help", volume=tmp_path)[0] == 0
    status, _ = run_image("python", "-m", "kfp.dsl.executor_main", "--help", volume=tmp_path)
    assert status == 0


def test_other_commands_run_as_they_are(run_image: RunImage) -> None:
    assert run_image("sh", "-c", "echo $HOME; exit 5") == (5, "/tmp\n")
    status, text = run_image("imdb-pipeline", "--help")
    assert (status, "Commands:" in text) == (0, True)
