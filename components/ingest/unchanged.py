"""Whether there is anything to train for: a run like the champion's would give it once more."""

from collections.abc import Mapping
from typing import Any

from components.shared.errors import InputError
from components.shared.recorded import recorded_config
from components.shared.registry.entries import Entry
from components.shared.registry.registry import Registry


def unchanged_champion(
    serving_dir: str, *, fingerprint: str, config: Mapping[str, Any], image: str
) -> Entry | None:
    """The champion, where it was made of the same reviews, configuration and image; else None.

    Args:
        serving_dir: the registry, a local path or a URL.
        fingerprint: that of the reviews.
        config: the configuration of the run by task, as JSON values.
        image: the image of the tasks.

    Raises:
        InputError: the registry can't be read.
    """
    champion = Registry.open(serving_dir).champion()
    if champion is None or (champion.fingerprint, champion.image) != (fingerprint, image):
        return None
    return champion if _same(champion.config, config) else None


def _same(recorded: Mapping[str, Any], config: Mapping[str, Any]) -> bool:
    """Whether two configurations mean the same, whatever an entry of earlier times leaves out."""
    try:
        return recorded_config(**recorded) == recorded_config(**config)
    except (InputError, TypeError):
        # The entry has what this program doesn't know.
        return False
