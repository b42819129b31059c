"""The cron as KFP reads it: checked, and its times."""

from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.shared.errors import InputError
from pipeline.schedule.cron import parse

SUNDAY = datetime(2026, 3, 1, tzinfo=UTC)
DAYS = "sun mon tue wed thu fri sat".split()


def times(text: str, count: int, after: datetime = SUNDAY) -> list[str]:
    return [f"{moment:%m-%d %H:%M:%S}" for moment in islice(parse(text).times(after), count)]


@pytest.mark.parametrize(
    ("text", "six"),
    [
        ("0 2 * * *", "0 0 2 * * *"),
        ("  0   2 * * * ", "0 0 2 * * *"),
        ("30 0 2 * * MON-FRI", "30 0 2 * * MON-FRI"),
        ("@daily", "0 0 0 * * *"),
        ("@weekly", "0 0 0 * * 0"),
    ],
)
def test_six_fields_are_sent(text: str, six: str) -> None:
    assert parse(text).text == six


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 2 * * *", ["03-01 02:00:00", "03-02 02:00:00", "03-03 02:00:00"]),
        ("*/20 * * * * *", ["03-01 00:00:20", "03-01 00:00:40", "03-01 00:01:00"]),
        ("0 12 * * mon,Wed", ["03-02 12:00:00", "03-04 12:00:00", "03-09 12:00:00"]),
        # A number with a step goes on to the end.
        ("5/25 0 * * *", ["03-01 00:05:00", "03-01 00:30:00", "03-01 00:55:00"]),
        # Two days that are both given: either will do.
        ("0 0 3 * 2", ["03-03 00:00:00", "03-10 00:00:00", "03-17 00:00:00"]),
        ("0 0 4 * 2", ["03-03 00:00:00", "03-04 00:00:00", "03-10 00:00:00"]),
        ("0 0 1-31 * 2", ["03-02 00:00:00", "03-03 00:00:00", "03-04 00:00:00"]),
        # With a star in one, even with a step, both have to fit.
        ("0 0 */2 * 2", ["03-03 00:00:00", "03-17 00:00:00", "03-31 00:00:00"]),
        ("0 0 29 2 *", ["02-29 00:00:00", "02-29 00:00:00", "02-29 00:00:00"]),
    ],
)
def test_the_times_are_those_of_kfp(text: str, expected: list[str]) -> None:
    """Each was seen with robfig/cron 1.2, which KFP calls."""
    assert times(text, 3) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has 0 fields"),
        ("2 * * *", "has 4 fields"),
        ("0 0 2 * * * 2030", "has 7 fields"),
        ("60 * * * *", "minute '60': must be from 0 to 59"),
        ("0 24 * * *", "hour '24'"),
        ("0 2 * * 7", "Sunday is 0"),
        ("0 2 0 * *", "day of month '0': must be from 1 to 31"),
        ("0 2 * 13 *", "month '13'"),
        ("0 2 * * fun", "'fun' isn't a number, or one of sun mon"),
        ("0 2 5-1 * *", "from the lower to the higher"),
        ("*/0 * * * *", "a step must be 1 or more"),
        ("1, * * * *", "not a number, a range"),
        ("0 2 L * *", "'L' isn't a number"),
        ("0 0 30 2 *", "doesn't come within five years"),
        ("0 0 31 4,6,9,11 *", "doesn't come within five years"),
        ("@every 1h", "fixed times"),
        ("@reboot", "there are @yearly"),
        ("TZ=UTC 0 2 * * *", "takes no time zone"),
        ("CRON_TZ=UTC 0 2 * * *", "takes no time zone"),
    ],
)
def test_what_is_wrong_is_told(text: str, words: str) -> None:
    with pytest.raises(InputError, match=r"^cron ") as error:
        parse(text)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_hours_in_a_zone_that_change_their_clocks() -> None:
    """As robfig/cron: a time that isn't there is left out, one that is there twice comes twice."""
    zone = ZoneInfo("Europe/Zurich")
    spring = parse("30 2 * * *").times(datetime(2026, 3, 28, 12, tzinfo=UTC), zone)
    assert next(spring).isoformat() == "2026-03-30T02:30:00+02:00"
    autumn = parse("30 2 * * *").times(datetime(2026, 10, 24, 12, tzinfo=UTC), zone)
    assert [moment.isoformat() for moment in islice(autumn, 2)] == [
        "2026-10-25T02:30:00+02:00",
        "2026-10-25T02:30:00+01:00",
    ]


def _spelled(draw: Any, low: int, high: int, names: list[str]) -> tuple[str, set[int]]:
    """A field, and the values that it stands for."""
    first, last = sorted((draw(st.integers(low, high)), draw(st.integers(low, high))))
    step = draw(st.integers(1, 9))
    word = names[first - low] if names and draw(st.booleans()) else str(first)
    return draw(
        st.sampled_from(
            [
                ("*", set(range(low, high + 1))),
                (f"*/{step}", set(range(low, high + 1, step))),
                (word, {first}),
                (f"{word}-{last}", set(range(first, last + 1))),
                (f"{word}-{last}/{step}", set(range(first, last + 1, step))),
                (f"{word}/{step}", set(range(first, high + 1, step))),
                (f"{word},{last}", {first, last}),
            ]
        )
    )


@st.composite
def crons(draw: Any) -> tuple[str, list[set[int]], bool]:
    """Five fields, their values, and whether both fields of the day have to fit."""
    bounds: list[tuple[int, int, list[str]]] = [
        (0, 59, []), (0, 23, []), (1, 31, []), (1, 12, []), (0, 6, DAYS)
    ]  # fmt: skip
    fields = [_spelled(draw, *each) for each in bounds]
    both = "*" in fields[2][0] or "*" in fields[4][0]
    return " ".join(text for text, _ in fields), [values for _, values in fields], both


@settings(max_examples=60)
@given(cron=crons(), hours=st.integers(0, 5_000))
def test_no_time_is_left_out_and_none_is_too_many(
    cron: tuple[str, list[set[int]], bool], hours: int
) -> None:
    text, (minutes, hours_of_day, days, months, weekdays), both = cron

    def fits(moment: datetime) -> bool:
        day, weekday = moment.day in days, (moment.weekday() + 1) % 7 in weekdays
        of_day = (day and weekday) if both else (day or weekday)
        return (
            moment.minute in minutes
            and moment.hour in hours_of_day
            and moment.month in months
            and of_day
        )

    after = SUNDAY + timedelta(hours=hours)
    until = after + timedelta(days=2)
    expected = [
        moment for n in range(1, 2 * 24 * 60 + 1) if fits(moment := after + timedelta(minutes=n))
    ]
    try:
        found = parse(text).times(after)
    except InputError:
        assert expected == []
        return
    taken = []
    for moment in found:
        if moment > until:
            break
        taken.append(moment)
    assert taken == expected
