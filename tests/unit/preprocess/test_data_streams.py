"""No element of the Beam pipeline can be cut or lost on its way between two stages.

Beam may flush a worker's data stream by time while an element is written to it. The pipeline
prevents that, and no element needs more than Beam's standard coders.
"""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
from apache_beam.coders import coder_impl
from apache_beam.portability import common_urns
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.worker import data_plane

from components.preprocess import preprocess as module
from components.preprocess.preprocess import preprocess
from components.preprocess.runner import new_pipeline
from components.preprocess.shared_files import Locations
from components.shared.artifacts import directory_sha256
from components.shared.config import IngestConfig, PreprocessConfig

ROOT = Path(__file__).parents[3]
OUTPUTS = ("examples", "vocabulary", "statistics")
VOCABULARY_SIZE = 60_000

# Where an element is cut, Beam takes its rest for the lengths of others, in an endless loop.
_IMPATIENT = f"""
import resource, sys
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from components.preprocess.preprocess import preprocess
from components.shared.config import PreprocessConfig

resource.setrlimit(resource.RLIMIT_DATA, (8_000_000_000, 8_000_000_000))
worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 1
preprocess(sys.argv[1], PreprocessConfig(vocabulary_size={VOCABULARY_SIZE}), *sys.argv[2:])
"""


@pytest.fixture(scope="module")
def many_tokens(tmp_path_factory, write_reviews) -> Path:
    """Reviews with so many tokens that some milliseconds go by while they are encoded."""
    from components.ingest.ingest import ingest

    root = tmp_path_factory.mktemp("many-tokens")
    source = write_reviews(root / "source", per_class=50)
    for number, path in enumerate(sorted((source / "train").rglob("*.txt"))):
        words = (hashlib.md5(b"%d %d" % (number, i)).hexdigest()[:8] for i in range(1_000))
        path.write_text(" ".join(words))
    ingest(str(source), IngestConfig(), root / "reviews")
    return root / "reviews"


def test_a_time_limit_of_a_millisecond_changes_no_byte(many_tokens: Path, tmp_path: Path) -> None:
    made = {name: [tmp_path / name / output for output in OUTPUTS] for name in ("one", "other")}
    words = [sys.executable, "-c", _IMPATIENT, str(many_tokens), *map(str, made["one"])]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    in_memory = ("--direct_num_workers=1", "--direct_running_mode=in_memory")
    config = PreprocessConfig(vocabulary_size=VOCABULARY_SIZE, beam_args=in_memory)
    preprocess(many_tokens, config, *made["other"])
    for one, other in zip(*made.values(), strict=True):
        assert directory_sha256(one) == directory_sha256(other)


def test_no_data_stream_is_flushed_by_time(prepared, tmp_path, monkeypatch) -> None:
    streams, before = [], worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
    create = data_plane.ClosableOutputStream.create

    def created(*arguments: object) -> data_plane.ClosableOutputStream:
        streams.append(create(*arguments))
        return streams[-1]

    monkeypatch.setattr(data_plane.ClosableOutputStream, "create", staticmethod(created))
    config = PreprocessConfig(vocabulary_size=60, max_length=32)
    preprocess(prepared.reviews, config, *(tmp_path / name for name in OUTPUTS))
    assert {type(it) for it in streams} == {data_plane.SizeBasedBufferingClosableOutputStream}
    assert before == worker_handlers.DATA_BUFFER_TIME_LIMIT_MS


def test_every_element_between_stages_has_a_standard_coder() -> None:
    # Of every PCollection that is read, for a runner may put a stage's end behind each.
    config = PreprocessConfig()
    pipeline = new_pipeline(config)
    locations = Locations({"train": ["a", "b"], "test": ["c"]}, "examples", "vocabulary", "out")
    module._build(pipeline, locations, config, frozenset())
    components = pipeline.to_runner_api().components
    transforms = [it for it in components.transforms.values() if not it.subtransforms]
    read = {name for transform in transforms for name in transform.inputs.values()}
    assert len(read) > 3
    urns = common_urns.coders
    standard = {it.urn for it in (urns.BYTES, urns.VARINT, urns.KV, urns.ITERABLE)}

    def found(coder_id: str) -> set[str]:
        coder = components.coders[coder_id]
        return {coder.spec.urn}.union(*map(found, coder.component_coder_ids))

    coders = {name: found(components.pcollections[name].coder_id) for name in read}
    assert {name: urns - standard for name, urns in coders.items() if urns - standard} == {}


def test_the_standard_coders_are_compiled() -> None:
    # What is compiled is written without another thread's running, but for a garbage collection.
    assert not coder_impl.__file__.endswith(".py")
