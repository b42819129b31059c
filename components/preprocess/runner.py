"""Beam's runner, from the configuration, and its errors in plain words."""

import contextlib
import io
import os
import re
from collections.abc import Iterator

import apache_beam as beam
import grpc  # type: ignore[import-untyped]
from apache_beam.options.pipeline_options import (
    JobServerOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
)
from apache_beam.portability import python_urns
from apache_beam.runners.portability.fn_api_runner import worker_handlers
from apache_beam.runners.portability.portable_runner import PortableRunner

from components.shared.config import PreprocessConfig
from components.shared.errors import Failure, InputError
from components.shared.registry.storage import StorageFailure

# Beam's DirectRunner would first try to download Prism; this is the in-process runner behind it.
_RUNNERS = {"DirectRunner": "apache_beam.runners.portability.fn_api_runner.FnApiRunner"}
# TensorFlow's string ops, which most of the time goes to, run beside each other in threads; each
# has a batch of reviews in memory, and there may be more cores than this task is meant to use.
_THREADS = min(4, os.cpu_count() or 1)
_DEFAULTS = ("--direct_running_mode=multi_threading", f"--direct_num_workers={_THREADS}")

# The option of Beam's Python workers for what `_without_timed_flush` is about.
_TIMED_FLUSH = "data_buffer_time_limit_ms"

_IN_PROCESS = ("apache_beam.runners.direct.", "apache_beam.runners.portability.fn_api_runner.")

_OWN_ERRORS = {error.__name__: error for error in (InputError, Failure, StorageFailure)}
# A worker's error comes as text, often within the text of others.
_OWN_ERROR = re.compile(rf"\b({'|'.join(_OWN_ERRORS)}): (.+?)(?: \[while running|\n|$)")


def new_pipeline(config: PreprocessConfig) -> beam.Pipeline:
    """An empty pipeline with the runner and options that `config` names.

    Raises:
        InputError: Beam refuses them, or the workers wouldn't see the task's files.
        Failure: a service that the runner needs doesn't answer.
    """
    options = _options(config)
    try:
        pipeline = beam.Pipeline(options=options)
        sees_files = config.beam_shared_dir is not None or _workers_see_files(pipeline)
    except Exception as error:
        raise _in_plain_words(error, config, options) or InputError(
            f"beam_runner={config.beam_runner}: {_one_line(error)}"
        ) from error
    if not sees_files:
        raise InputError(
            f"beam_runner={config.beam_runner}: its workers don't see this task's files; set "
            "beam_shared_dir to a URL of s3://, gs:// or az://, or to a path that is mounted here "
            "and in every worker"
        )
    return pipeline


@contextlib.contextmanager
def running(pipeline: beam.Pipeline, config: PreprocessConfig) -> Iterator[None]:
    """Runs `pipeline` when the block that builds it ends.

    Raises:
        InputError: from a worker, or of an option that the runner refuses.
        Failure: from a worker, or of a job server or cluster that doesn't do its part.
    """
    try:
        with _without_timed_flush(), pipeline:
            yield
    except Exception as error:
        plain = _in_plain_words(error, config, pipeline.options)
        if plain is None:
            raise
        raise plain from error


@contextlib.contextmanager
def _without_timed_flush() -> Iterator[None]:
    """Has the in-process runner and its workers flush their data streams by size alone.

    Beam 2.77 also flushes them by time, in a thread of its own that nothing excludes from an
    element's being written. An element that is encoded in several steps is cut in two, and what is
    written between the thread's copy of the buffer and its clearing is lost
    (`TimeBasedBufferingClosableOutputStream` in `runners/worker/data_plane.py`), whatever the
    coders. No pipeline option reaches the runner's own streams.
    """
    before = worker_handlers.DATA_BUFFER_TIME_LIMIT_MS
    worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0
    try:
        yield
    finally:
        worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = before


def _options(config: PreprocessConfig) -> PipelineOptions:
    runner = _RUNNERS.get(config.beam_runner, config.beam_runner)
    defaults = _DEFAULTS if config.beam_runner in _RUNNERS else ()
    options = PipelineOptions([f"--runner={runner}", *defaults, *config.beam_args])
    given, usage = f"beam_args={' '.join(config.beam_args)}:", io.StringIO()
    # Beam passes over what it can't read.
    if config.beam_args and not config.beam_args[0].startswith("--"):
        raise InputError(f"{given} options begin with --, as in --direct_num_workers=2")
    if any(_TIMED_FLUSH in argument for argument in config.beam_args):
        raise InputError(
            f"{given} Beam's Python workers cut and lose elements with {_TIMED_FLUSH}; leave it out"
        )
    try:
        with contextlib.redirect_stderr(usage):
            known = options.get_all_options()
            every = options.get_all_options(retain_unknown_options=True)
    except SystemExit:
        reason = usage.getvalue().rpartition("error: ")[2].strip()
        raise InputError(f"{given} Beam says: {reason}") from None
    if (workers := known["direct_num_workers"]) < 0:
        raise InputError(
            f"{given} --direct_num_workers={workers} is below 0; give the number of workers, or 0 "
            "for as many as there are cores"
        )
    # A job server may have options of its own; the runner in this process has none.
    unknown = sorted(every.keys() - known.keys())
    if unknown and config.beam_runner in _RUNNERS:
        raise InputError(f"{given} Beam has no option --{', --'.join(unknown)}; check its name")
    # The workers import this code. What a task's main module holds is KFP's, and can't be pickled.
    options.view_as(SetupOptions).save_main_session = False
    return options


def _workers_see_files(pipeline: beam.Pipeline) -> bool:
    """Whether the workers run in this process, or beside it."""
    runner = pipeline.runner
    if not isinstance(runner, PortableRunner):
        return f"{type(runner).__module__}.".startswith(_IN_PROCESS)
    environment = runner.default_environment(pipeline.options)
    return bool(environment.to_runner_api(None).urn == python_urns.EMBEDDED_PYTHON_LOOPBACK)


def _in_plain_words(
    error: Exception, config: PreprocessConfig, options: PipelineOptions
) -> InputError | Failure | None:
    """What a user reads of an error of Beam's; None for one that only its traceback explains."""
    text, prefix = str(error), f"beam_runner={config.beam_runner}:"
    if found := _OWN_ERROR.search(f"{type(error).__name__}: {text}"):
        return _OWN_ERRORS[found[1]](found[2])
    if "No module named 'components'" in text:
        return Failure(
            f"{prefix} the workers lack the code of this pipeline; start them of its image"
        )
    if "[while running" in text or "Traceback (most recent call last)" in text:
        return None
    if isinstance(error, ImportError | NotImplementedError | ValueError):
        return InputError(f"{prefix} {_one_line(error)}")
    if isinstance(error, grpc.FutureTimeoutError):
        portable = options.view_as(PortableOptions)
        return Failure(
            f"{prefix} no job server answered at {portable.job_endpoint} within "
            f"{portable.job_server_timeout} s; check --job_endpoint in beam_args, and that the "
            "job server runs"
        )
    java = options.view_as(JobServerOptions).job_server_java_launcher
    if isinstance(error, FileNotFoundError) and error.filename == java:
        return Failure(
            f"{prefix} there is no {java} here to start its job server; install a Java runtime, "
            "or name a job server that runs: beam_runner=PortableRunner with "
            "--job_endpoint=HOST:PORT in beam_args"
        )
    return _failure_of_a_service(error, prefix)


def _failure_of_a_service(error: Exception, prefix: str) -> Failure | None:
    text = _one_line(error)
    if "Unable to fetch remote job server jar" in text:
        return Failure(
            f"{prefix} {text.partition('. ')[0]}; fetch the jar of the job server by other means, "
            "and name it in beam_args: --flink_job_server_jar=FILE or --spark_job_server_jar=FILE"
        )
    if "Service failed to start up" in text:
        return Failure(
            f"{prefix} the job server ended as soon as it was started ({text}); check its jar and "
            "the version of Java"
        )
    if isinstance(error, grpc.RpcError):
        return Failure(f"{prefix} the job server fails: {error.code().name}, {error.details()}")
    if type(error).__module__.startswith("google."):
        return Failure(f"{prefix} Google Cloud fails: {text}")
    if "failed in state" in text:
        return Failure(f"{prefix} {text}; its job server and workers log the reason")
    return None


def _one_line(error: Exception) -> str:
    """The text of an error, without the stack that some have in it."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(line for line in lines if line and not line.startswith(("at ", "...")))
