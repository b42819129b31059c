"""A schedule as its writer gives it, checked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from components.shared.errors import InputError
from pipeline.cluster.request import RunRequest
from pipeline.config import PRESETS
from pipeline.config import preset as named_preset
from pipeline.kubernetes import KubernetesOptions
from pipeline.schedule.cron import Cron, parse

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,98}[A-Za-z0-9])?")
_MOST_AT_ONCE = 10
"""KFP's controller takes a greater max_concurrency for this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """When the pipeline runs, and with what; the keys of a schedule's file are the fields."""

    name: str
    """Names the recurring run; one schedule a name and namespace."""

    cron: str
    """Five fields, or six with the second first, or @hourly, @daily and so on."""

    serving_dir: str
    """The registry: where the champion is and a blessed model goes; a URL."""

    time_zone: str | None = None
    """The zone that the hours are meant in; it must be that of the cluster's controller."""

    enabled: bool = True
    """Whether it fires."""

    catchup: bool = False
    """Whether all times are made up for that were missed while the controller was away."""

    max_concurrency: int = 1
    """Runs in flight at most, from 1 to 10; a time that comes meanwhile waits."""

    source: str = "tfds"
    """The reviews: bundled, tfds, or the URI of reviews in aclImdb's layout."""

    preset: str = "default"
    """A named configuration."""

    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Keys of the configuration with their values; `set` in a file."""

    skip_unchanged: bool = True
    """Whether a run ends after ingest where data, configuration and image are the champion's."""

    cache: bool = True
    """Whether results may come from KFP's cache."""

    pipeline_root: str | None = None
    """Where KFP keeps the outputs; None for its own choice."""

    experiment: str = "imdb-sentiment"
    """Groups the runs in KFP's user interface."""

    namespace: str | None = None
    """The namespace of a multi-user KFP; None for that of the command line."""

    service_account: str | None = None
    """Whom the pods run as; None for KFP's own choice."""

    ui_url: str | None = None
    """Where the link in a notification leads to; None for KFP as the command line has it."""

    kubernetes: KubernetesOptions = field(default_factory=KubernetesOptions)
    """The image, and what else the pods are given."""

    def __post_init__(self) -> None:
        """Checks what needs no cluster.

        Raises:
            InputError: a value that can't be used; its key comes first in the message.
        """
        if not _NAME.fullmatch(self.name):
            raise InputError(
                f"name {self.name!r}: give 1 to 100 letters, digits, blanks, '.', '_' or '-', "
                "beginning and ending with a letter or digit"
            )
        parse(self.cron)
        self.zone("UTC" if self.time_zone is None else self.time_zone)
        if not 1 <= self.max_concurrency <= _MOST_AT_ONCE:
            raise InputError(
                f"max_concurrency {self.max_concurrency}: must be from 1 to {_MOST_AT_ONCE}"
            )
        for key in ("experiment", "namespace", "ui_url"):
            text = getattr(self, key)
            if text is not None and not text.strip():
                raise InputError(f"{key} is blank: give a value, or leave {key} out")
        if self.preset not in PRESETS:
            raise InputError(f"preset {self.preset!r}: unknown; choose one of {', '.join(PRESETS)}")
        self.request("")

    @property
    def six_fields(self) -> Cron:
        """The cron as KFP reads it."""
        return parse(self.cron)

    def request(self, ui_url: str) -> RunRequest:
        """What each run is.

        Args:
            ui_url: where the link in a notification leads to, if the schedule doesn't say.

        Raises:
            InputError: a place or a configuration that can't be used.
        """
        return RunRequest(
            source=self.source,
            preset=self.preset,
            config=named_preset(self.preset).override(self.overrides),
            serving_dir=self.serving_dir,
            pipeline_root=self.pipeline_root,
            service_account=self.service_account,
            skip_unchanged=self.skip_unchanged,
            ui_url=self.ui_url or ui_url,
        )

    @staticmethod
    def zone(name: str) -> tzinfo:
        """The time zone of that name.

        Raises:
            InputError: there is none.
        """
        if name == "UTC":
            # A small image has no data of time zones.
            return UTC
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"time_zone {name!r}: unknown; give a name such as UTC or Europe/Zurich"
            ) from error

    def require_zone(self, cluster: str) -> None:
        """Checks that the hours mean to the cluster what they mean to the writer.

        Args:
            cluster: the time zone of the cluster's controller.

        Raises:
            InputError: they don't.
        """
        if self.time_zone not in (None, cluster):
            raise InputError(
                f"{self.name}: time_zone {self.time_zone}: KFP has no time zone for one schedule; "
                f"its controller reads every cron in its own, here {cluster}. Give the cron in "
                f"{cluster} without time_zone, or set CRON_SCHEDULE_TIMEZONE of the deployment "
                f"ml-pipeline-scheduledworkflow and give --cluster-time-zone {self.time_zone}"
            )
