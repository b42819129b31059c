"""The compiled pipeline."""

import re
from pathlib import Path

import pytest
from kfp import components

from components.shared.errors import InputError
from pipeline.compile import compile_pipeline


def test_the_compiled_pipeline_can_be_loaded_and_is_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a.yaml", tmp_path / "b.yaml"]
    for path in paths:
        compile_pipeline(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    loaded = components.load_component_from_file(str(paths[0]))
    assert {
        "source",
        "serving_dir",
        "run_id",
        "train_config",
    } <= loaded.component_spec.inputs.keys()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.yaml", "b.yaml"]


@pytest.mark.parametrize("name", ["pipeline.txt", "pipeline", "nowhere/pipeline.yaml", "full.yaml"])
def test_a_path_that_cannot_be_written_is_named_and_nothing_stays(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "full.yaml").mkdir()
    with pytest.raises(InputError, match=str(tmp_path / name)):
        compile_pipeline(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["full.yaml"]


def test_kfps_local_runner_can_evaluate_every_condition(tmp_path: Path) -> None:
    # It finds an output that has no name of its own, and takes one that it can't find for False.
    compile_pipeline(tmp_path / "pipeline.yaml")
    text = (tmp_path / "pipeline.yaml").read_text()
    conditions = re.findall(r"condition: inputs\.parameter_values\['([^']+)'\]", text)
    assert conditions == ["pipelinechannel--evaluate-Output"]


def test_another_image_is_every_task_s(tmp_path: Path) -> None:
    image = "registry.example/imdb@sha256:" + "0" * 64
    compile_pipeline(tmp_path / "one.yaml", image)
    compile_pipeline(tmp_path / "two.yaml")
    assert (tmp_path / "one.yaml").read_text().count(f"image: {image}\n") == 6
    assert image not in (tmp_path / "two.yaml").read_text()
