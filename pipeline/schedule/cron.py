"""Cron as KFP reads it: six fields, seconds first.

KFP's API server and its controller parse a cron with robfig/cron 1.2, whose dialect isn't that of a
crontab: the seconds come first, Sunday is 0 and never 7, and it takes five fields for one whose day
of the week was left out, so that `0 2 * * *` runs at two minutes past every hour. A date that never
comes has it run without end. So all is checked here, and six fields are sent.
"""

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from components.shared.errors import InputError

_DESCRIPTORS = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@midnight": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
}
_FIELDS: tuple[tuple[str, int, int, str], ...] = (
    ("second", 0, 59, ""),
    ("minute", 0, 59, ""),
    ("hour", 0, 23, ""),
    ("day of month", 1, 31, ""),
    ("month", 1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    ("day of week", 0, 6, "sun mon tue wed thu fri sat"),
)
_RANGE = re.compile(r"(?:[*?]|(?P<low>\w+)(?:-(?P<high>\w+))?)(?:/(?P<step>\d+))?")
_HORIZON = timedelta(days=5 * 365)
"""As far as robfig/cron looks for the next time."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron that KFP runs as its writer means it; made by `parse`."""

    text: str
    """Six fields, seconds first."""

    def times(self, after: datetime, zone: tzinfo = UTC) -> Iterator[datetime]:
        """The times after `after`, without end.

        Args:
            after: a time with a zone.
            zone: where the cron's hours are counted.

        Yields:
            Times in `zone`.
        """
        # Here, for no command but `schedule` needs it.
        from croniter import croniter

        values = [_values(field, index) for index, field in enumerate(self.text.split())]
        spelled, both = self._spelled(values)
        found = croniter(
            spelled,
            after.astimezone(zone),
            ret_type=datetime,
            day_or=not both,
            second_at_beginning=True,
            max_years_between_matches=6,
        )
        seconds, minutes, hours = values[:3]
        for moment in iter(found.get_next, None):
            # Where the clocks go forward, croniter moves a time that isn't there and robfig/cron
            # leaves it out.
            if moment.hour in hours and moment.minute in minutes and moment.second in seconds:
                yield moment

    def _spelled(self, values: list[set[int]]) -> tuple[str, bool]:
        """The fields as lists of values for croniter, and whether a day has to fit both of its."""
        full = [
            len(values[index]) > most - least for index, (_, least, most, _) in enumerate(_FIELDS)
        ]
        days, weekdays = self.text.split()[3::2]
        # A star in either field, also one with a step, makes robfig/cron ask for both.
        both = any(star in days + weekdays for star in "*?")
        if not both and (full[3] or full[5]):
            full[3] = full[5] = True
        lists = [",".join(map(str, sorted(field))) for field in values]
        return " ".join("*" if full[i] else text for i, text in enumerate(lists)), both


def parse(text: str) -> Cron:
    """Checks a cron, and makes six fields of five or of an `@daily`.

    Raises:
        InputError: it isn't one, or its day never comes.
    """
    text = " ".join(text.split())
    if text.startswith("@"):
        return Cron(_descriptor(text))
    if text.upper().startswith(("TZ=", "CRON_TZ=")):
        raise InputError(f"cron {text!r}: takes no time zone; leave {text.split()[0]} out")
    fields = text.split()
    if len(fields) == 5:
        fields = ["0", *fields]
    if len(fields) != 6:
        raise InputError(
            f"cron {text!r}: has {len(fields)} fields; give five, from the minute on, or six, with "
            "the second first"
        )
    for index, field in enumerate(fields):
        try:
            _values(field, index)
        except ValueError as error:
            raise InputError(
                f"cron {text!r}: {_FIELDS[index][0]} {field!r}: {error.args[0]}"
            ) from None
    cron = Cron(" ".join(fields))
    _require_times(cron, text)
    return cron


def _descriptor(text: str) -> str:
    if text.lower().startswith("@every"):
        raise InputError(
            f"cron {text!r}: counts from the moment when it is applied; give fixed times, such as "
            "'0 */6 * * *'"
        )
    if text not in _DESCRIPTORS:
        raise InputError(f"cron {text!r}: unknown; there are {', '.join(_DESCRIPTORS)}")
    return _DESCRIPTORS[text]


def _require_times(cron: Cron, text: str) -> None:
    """Refuses a cron whose times don't come, or come further apart than KFP looks."""
    from croniter import CroniterBadDateError

    previous = datetime.now(UTC)
    try:
        for moment in itertools.islice(cron.times(previous), 5):
            if moment - previous > _HORIZON:
                raise CroniterBadDateError
            previous = moment
    except CroniterBadDateError:
        raise InputError(
            f"cron {text!r}: such a day doesn't come within five years; check the day of the month "
            "and the month"
        ) from None


def _values(text: str, index: int) -> set[int]:
    """The values that a field stands for; a ValueError says what is wrong with it."""
    values: set[int] = set()
    for part in text.split(","):
        values.update(_range(part, index))
    return values


def _range(text: str, index: int) -> range:
    _, least, most, names = _FIELDS[index]
    match = _RANGE.fullmatch(text)
    if match is None:
        raise ValueError("not a number, a range a-b, a list a,b or a step */n")
    step = int(match["step"] or 1)
    if match["low"] is None:
        low, high = least, most
    else:
        low = _number(match["low"], least, names)
        high = _number(match["high"], least, names) if match["high"] else low
        # `3/10` is 3, 13, 23 and so on.
        high = most if match["step"] and not match["high"] else high
    if not least <= low <= most or not least <= high <= most:
        sunday = "; Sunday is 0" if names.startswith("sun") and 7 in (low, high) else ""
        raise ValueError(f"must be from {least} to {most}{sunday}")
    if low > high:
        raise ValueError("a range goes from the lower to the higher value")
    if not step:
        raise ValueError("a step must be 1 or more")
    return range(low, high + 1, step)


def _number(text: str, least: int, names: str) -> int:
    known = names.split()
    if text.lower() in known:
        return known.index(text.lower()) + least
    if not (text.isascii() and text.isdecimal()):
        hint = f", or one of {names}" if names else ""
        raise ValueError(f"{text!r} isn't a number{hint}")
    return int(text)
