"""What a run on this machine is: checked, and named, before anything is made."""

import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from components.shared.errors import InputError
from components.shared.paths import require_file_or_folder
from components.shared.registry.serving_dir import check_writable
from components.shared.registry.storage import StorageFailure
from components.shared.uris import redacted, require_uri, scheme_of
from pipeline.config import PipelineConfig

BUILT_IN_SOURCES = ("bundled", "tfds")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunSpec:
    """What to run, checked: made by `plan`."""

    run_id: str

    source: str
    """`bundled`, `tfds`, an absolute path or a URI."""

    preset: str

    config: PipelineConfig

    serving_dir: str
    """The registry: an absolute path or a URI."""

    run_dir: Path
    """Gets the outputs and logs of the run; `<pipeline_root>/<run_id>`, absolute."""

    image: str = ""
    """The image of the tasks; empty where they run as processes."""

    skip_unchanged: bool = False
    """Whether the run is over after ingest if the champion was made of the same."""

    def arguments(self) -> dict[str, Any]:
        """The parameters of the pipeline."""
        return {
            "source": self.source,
            "preset": self.preset,
            "serving_dir": self.serving_dir,
            "image": self.image,
            "skip_unchanged": self.skip_unchanged,
            "workspace": str(self.run_dir),
            **self.config.arguments(),
        }


def plan(
    *,
    source: str,
    preset: str,
    config: PipelineConfig,
    serving_dir: str,
    pipeline_root: str,
    image: str = "",
    skip_unchanged: bool = False,
) -> RunSpec:
    """Checks where a run reads from and writes to, and names it; makes nothing.

    Raises:
        InputError: a local source doesn't exist, or a folder can't be written to.
    """
    if source not in BUILT_IN_SOURCES:
        if scheme_of(source):
            require_uri("source", source)
        else:
            source = str(_existing(source))
    if not scheme_of(serving_dir):
        serving_dir = str(absolute("serving_dir", serving_dir))
    if scheme_of(pipeline_root):
        raise InputError(
            f"pipeline_root {redacted(pipeline_root)}: not a local path; give that of a folder"
        )
    root = absolute("pipeline_root", pipeline_root)
    try:
        check_writable(serving_dir)
    except StorageFailure as error:
        raise InputError(str(error)) from error
    _require_writable(root)
    run_id = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
    return RunSpec(
        run_id=run_id,
        source=source,
        preset=preset,
        config=config,
        serving_dir=serving_dir,
        run_dir=root / run_id,
        image=image,
        skip_unchanged=skip_unchanged,
    )


def absolute(name: str, text: str) -> Path:
    """The absolute path that the option `name` gives.

    Raises:
        InputError: it is empty, not UTF-8, in a loop of links, or of a user without a home.
    """
    if not text:
        raise InputError(f"{name} is empty: give a path")
    try:
        text.encode()
        return Path(text).expanduser().resolve()
    except UnicodeEncodeError as error:
        raise InputError(f"{name} {text!r}: not UTF-8; give the path another name") from error
    except RuntimeError as error:
        raise InputError(f"{name} {text}: {error}; give the whole path") from error


def _existing(source: str) -> Path:
    path = absolute("source", source)
    advice = "give bundled, tfds, or the path or URI of reviews in aclImdb's layout"
    require_file_or_folder(path, f"source {source!r}", advice)
    return path


def _require_writable(folder: Path) -> None:
    try:
        present = next(part for part in (folder, *folder.parents) if part.exists())
        with tempfile.TemporaryDirectory(prefix=".writable-", dir=present):
            pass
    except OSError as error:
        raise unwritable(folder, error) from error


def unwritable(folder: Path, error: OSError) -> InputError:
    """Says that runs can't be kept in a folder."""
    return InputError(
        f"pipeline_root {folder}: cannot be written to ({error.strerror}); choose a folder that "
        "this user may write to"
    )
