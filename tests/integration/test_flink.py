"""The preprocess task on Beam's real Flink job server, with a Flink cluster within it.

It needs Java, and the job server from Maven's central repository.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from apache_beam.utils.subprocess_server import JavaJarServer, pick_port

from components.shared.artifacts import directory_sha256
from tests.integration.minio import BUCKET, executable, serving

ROOT = Path(__file__).parents[2]
OUTPUTS = ("examples", "vocabulary", "statistics")

# Where a mirror lacks the job server as one jar, it is put together of Beam's modules; these are
# of the newest version that has been seen complete on one.
_MODULES = """<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>test</groupId><artifactId>job-server</artifactId><version>1</version>
  <dependencies><dependency>
    <groupId>org.apache.beam</groupId>
    <artifactId>beam-runners-flink-1.19</artifactId>
    <version>2.62.0</version>
  </dependency></dependencies>
</project>
"""
_OPENED = ("java.lang", "java.net", "java.nio", "java.time", "java.util", "java.util.concurrent")


@pytest.fixture(scope="session")
def job_server_jar(tmp_path_factory: pytest.TempPathFactory) -> str:
    if shutil.which("java") is None:
        pytest.skip("there is no java to run Beam's Flink job server")
    try:
        return JavaJarServer.local_jar(
            JavaJarServer.path_to_beam_jar(":runners:flink:2.2:job-server:shadowJar")
        )
    except RuntimeError as error:
        if shutil.which("mvn") is None:
            pytest.skip(f"Beam's Flink job server isn't to be had: {error}")
    return str(_of_modules(tmp_path_factory.mktemp("job-server")))


def _of_modules(folder: Path) -> Path:
    """A jar that only names Beam's modules in Maven's local repository, and the main class."""
    (folder / "pom.xml").write_text(_MODULES)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
    command = ["mvn", "-q", "-B", "-ntp", goal, "-Dmdep.outputFile=classpath"]
    maven = subprocess.run(
        [*command, "-DincludeScope=runtime"], cwd=folder, capture_output=True, text=True
    )
    if maven.returncode:
        pytest.skip(f"Maven can't get Beam's Flink job server: {maven.stdout[:1000]}")
    jars = (folder / "classpath").read_text().split(os.pathsep)
    entries = {
        "Manifest-Version": "1.0",
        "Main-Class": "org.apache.beam.runners.flink.FlinkJobServerDriver",
        "Class-Path": " ".join(Path(jar).as_uri() for jar in jars),
        "Add-Opens": " ".join(f"java.base/{package}" for package in _OPENED),
    }
    with zipfile.ZipFile(folder / "server.jar", "w") as jar:
        lines = [_folded(f"{key}: {value}") for key, value in entries.items()]
        jar.writestr("META-INF/MANIFEST.MF", "".join([*lines, "\n"]))
    return folder / "server.jar"


def _folded(line: str) -> str:
    """A line of a manifest takes 72 bytes, and goes on after a space."""
    return "\n ".join(line[i : i + 70] for i in range(0, len(line), 70)) + "\n"


def preprocess(
    reviews: Path, root: Path, *options: str, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pipeline", "task", "preprocess", "--reviews", str(reviews),
         *(part for name in OUTPUTS for part in (f"--{name}", str(root / name))),
         "--vocabulary-size", "60", "--max-length", "32", *options],
        cwd=ROOT, capture_output=True, text=True, env=environment,
    )  # fmt: skip


def assert_same_bytes(result: subprocess.CompletedProcess[str], root: Path, prepared) -> None:
    assert result.returncode == 0, result.stderr
    for name in OUTPUTS:
        assert directory_sha256(root / name) == directory_sha256(getattr(prepared, name))


def test_flink_writes_the_bytes_that_the_in_process_runner_writes(
    job_server_jar, prepared, tmp_path: Path
) -> None:
    beam_args = (
        "--flink_master=[local] --environment_type=LOOPBACK --parallelism=2 "
        f"--flink_job_server_jar={job_server_jar}"
    )
    result = preprocess(
        prepared.reviews, tmp_path, "--beam-runner", "FlinkRunner", "--beam-args", beam_args
    )
    assert_same_bytes(result, tmp_path, prepared)


@pytest.fixture
def job_server(job_server_jar: str, tmp_path: Path) -> Iterator[str]:
    """The address of a job server that runs by itself."""
    port, *others = pick_port(None, None, None)
    command = ["java", "-jar", job_server_jar, "--flink-master", "[local]",
               "--job-port", port, "--artifact-port", others[0], "--expansion-port", others[1],
               "--artifacts-dir", tmp_path / "artifacts"]  # fmt: skip
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL) as server:
        yield f"localhost:{port}"
        server.terminate()


@dataclass(frozen=True)
class Shared:
    """Where the workers find files."""

    location: str
    folder: Path
    """The folder behind it."""
    environment: dict[str, str]
    """That of the programs that use it."""


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    """A bucket of a real S3 server; where there is none, a folder, as a mounted volume would be."""
    program, folder = executable(), tmp_path / "shared"
    folder.mkdir()
    if program is None:
        yield Shared(str(folder), folder, dict(os.environ))
        return
    with serving(program, folder) as server:
        bucket = folder / "data" / BUCKET
        yield Shared(f"s3://{BUCKET}/beam", bucket, server.environment())


@pytest.fixture
def worker_pool(tmp_path: Path, shared: Shared) -> Iterator[str]:
    """The address of a pool of Beam workers that runs elsewhere, as beside a Flink task manager."""
    (port,) = pick_port(None)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    module = "apache_beam.runners.worker.worker_pool_main"
    with subprocess.Popen(
        [sys.executable, "-m", module, f"--service_port={port}"],
        cwd=tmp_path,
        env={**shared.environment, "PYTHONPATH": str(ROOT), "PATH": path},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as pool:
        yield f"localhost:{port}"
        pool.terminate()


def test_workers_elsewhere_need_no_more_than_the_shared_store(
    job_server, worker_pool, shared: Shared, prepared, tmp_path: Path
) -> None:
    beam_args = (
        f"--job_endpoint={job_server} --parallelism=2 --environment_type=EXTERNAL "
        f"--environment_config={worker_pool} --environment_cache_millis=60000"
    )
    result = preprocess(
        prepared.reviews, tmp_path / "made", "--beam-runner", "PortableRunner",
        "--beam-args", beam_args, "--beam-shared-dir", shared.location,
        environment=shared.environment,
    )  # fmt: skip
    assert_same_bytes(result, tmp_path / "made", prepared)
    assert list(shared.folder.rglob("preprocess-*")) == []


def test_a_job_server_that_does_not_start_is_said_in_one_line(prepared, tmp_path: Path) -> None:
    beam_args = f"--job_server_java_launcher=false --flink_job_server_jar={__file__}"
    result = preprocess(
        prepared.reviews, tmp_path, "--beam-runner", "FlinkRunner", "--beam-args", beam_args
    )
    assert result.returncode == 1
    # Threads of Beam may log before it.
    last = result.stderr.splitlines()[-1]
    assert "beam_runner=FlinkRunner: the job server ended as soon as it was started" in last
    assert list(tmp_path.iterdir()) == []
