"""TFDS's own `imdb_reviews/plain_text`: TFDS downloads it and holds it to its checksum."""

import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.ingest.spool import RawReview
from components.shared import events
from components.shared.errors import InputError, storage_message
from components.shared.reviews import TEST, TRAIN, UNSUPERVISED

DATASET = "imdb_reviews/plain_text"
CONNECT_SECONDS = 60

_BATCH = 1024
_OTHERS = "use the source bundled, or the path or URI of an archive or folder in aclImdb's layout"


def tfds_reviews(data_dir: str | Path | None = None) -> Iterator[RawReview]:
    """Reads `imdb_reviews`, which TFDS downloads unless `data_dir` holds it.

    Args:
        data_dir: TFDS's directory for data sets and downloads; None for TFDS's own default.

    Raises:
        InputError: the download can't be reached, breaks off, or has another checksum.
    """
    # Imported here: it brings TensorFlow, which the other sources do without.
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()
    builder = tfds.builder(DATASET, data_dir=data_dir)
    if not builder.is_prepared():
        _prepare(builder)
    for split in (TRAIN, TEST, UNSUPERVISED):
        for batch in tfds.as_numpy(builder.as_dataset(split=split, batch_size=_BATCH)):
            for text, label in zip(batch["text"], batch["label"], strict=True):
                yield RawReview(split, int(label), text)


def _prepare(builder: Any) -> None:
    import tensorflow_datasets as tfds

    (url,) = builder.url_infos
    if not _is_downloaded(builder):
        # TFDS itself waits without a time-out, and tries ten times.
        _check_reachable(url)
        events.progress(f"downloading {url}")
    config = tfds.download.DownloadConfig(
        force_checksums_validation=True, try_download_gcs=False, register_checksums=False
    )
    try:
        builder.download_and_prepare(download_config=config)
    except Exception as error:
        if isinstance(error, OSError) and storage_message(error):
            raise
        reason = " ".join(str(error).split())
        raise InputError(
            f"tfds: TFDS can't prepare {DATASET}: {reason}; try again, or {_OTHERS}"
        ) from error


def _is_downloaded(builder: Any) -> bool:
    downloads = Path(builder.data_dir_root) / "downloads"
    found = downloads.glob("**/*aclImdb_v1*.tar.gz")
    # TFDS downloads into a folder *.tmp.*, which stays behind when it is killed.
    return any(path.is_file() and ".tmp." not in path.parent.name for path in found)


def _check_reachable(url: str) -> None:
    request = urllib.request.Request(url, method="HEAD")
    try:
        urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise InputError(f"tfds: {url} can't be reached ({error}); {_OTHERS}") from error
