"""What people read: French dates, durations, numbers and names."""

from __future__ import annotations

import doctest
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from souverain.core import charts, clock, format
from souverain.core.templatetags import core_format

NOW = datetime(2026, 11, 23, 17, 5, tzinfo=UTC)


def plain(text: str) -> str:
    """The same text with ordinary spaces."""
    return text.replace(format.NBSP, " ").replace(format.THIN, " ")


@pytest.mark.parametrize("module", [format, charts])
def test_examples_in_the_documentation_hold(module: object) -> None:
    assert doctest.testmod(module).failed == 0  # type: ignore[arg-type]


def test_an_instant_is_written_in_paris_time() -> None:
    assert plain(format.datetime_fr(NOW)) == "lundi 23 novembre 2026, 18 h 05"
    summer = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    assert plain(format.datetime_fr(summer)) == "jeudi 2 juillet 2026, 0 h 30"
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-8)))
    assert format.datetime_fr(elsewhere) == format.datetime_fr(NOW)


def test_the_repeated_hour_of_october_is_written_twice_the_same() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert plain(format.time_fr(first)) == plain(format.time_fr(first + timedelta(hours=1)))


def test_a_day_stays_the_day_it_is() -> None:
    assert format.date_fr(date(2027, 1, 1)) == "vendredi 1er janvier 2027"
    assert format.date_fr(datetime(2026, 12, 31, 23, 30, tzinfo=UTC)) == "vendredi 1er janvier 2027"
    assert format.day_short(datetime(2026, 12, 31, 23, 30, tzinfo=UTC)) == "01/01/2027"


def test_an_instant_without_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        format.datetime_fr(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("duration", "words"),
    [
        (timedelta(seconds=-3), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=12, seconds=40), "12 min"),
        (timedelta(hours=6, minutes=12), "6 h 12"),
        (timedelta(hours=23, minutes=59, seconds=59), "23 h 59"),
        (timedelta(days=1), "1 jour"),
        (timedelta(days=3, hours=5), "3 jours"),
        (timedelta(days=61), "2 mois"),
        (timedelta(days=729), "23 mois"),
        (timedelta(days=730), "2 ans"),
    ],
)
def test_durations_are_said_as_people_say_them(duration: timedelta, words: str) -> None:
    assert plain(format.duration_fr(duration)) == words


def test_ages_look_both_ways() -> None:
    assert plain(format.age_fr(NOW - timedelta(days=3), NOW)) == "il y a 3 jours"
    assert plain(format.age_fr(NOW + timedelta(hours=2), NOW)) == "dans 2 h 00"
    assert format.age_fr(NOW - timedelta(seconds=20), NOW) == "à l'instant"
    assert plain(format.since_fr(NOW - timedelta(hours=6, minutes=12), NOW)) == "depuis 6 h 12"


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 octet"),
        (1, "1 octet"),
        (999, "999 octets"),
        (1000, "1 Ko"),
        (1250, "1,25 Ko"),
        (12_340, "12,3 Ko"),
        (340_000_000, "340 Mo"),
        (999_499, "999 Ko"),
        (999_500, "1 Mo"),
        (1_250_000_000, "1,25 Go"),
        (1_800_000_000_000_000, "1,8 Po"),
        (12_000_000_000_000_000_000, "12 000 Po"),
    ],
)
def test_sizes(size: int, words: str) -> None:
    assert plain(format.bytes_fr(size)) == words


@given(st.integers(min_value=0, max_value=10**18))
def test_a_size_never_shows_four_figures_below_petabytes(size: int) -> None:
    number, unit = format.bytes_fr(size).split(format.NBSP)
    assert unit == "Po" or len(number.split(",")[0]) <= 3


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_a_whole_number_reads_back(value: int) -> None:
    assert int(format.number_fr(value).replace(format.THIN, "")) == value


def test_numbers_and_percentages() -> None:
    assert format.number_fr(8489) == "8\u202f489"
    assert format.number_fr(-0.001) == "0"
    assert plain(format.percent_fr(0.285, 1)) == "28,5 %"
    assert plain(format.percent_fr(1)) == "100 %"


def test_filters_write_a_dash_for_what_is_absent_and_use_the_clock() -> None:
    filters = core_format.register.filters
    assert filters["bytes_fr"](None) == "—"
    assert filters["datetime_fr"]("") == "—"
    assert plain(filters["number_fr"](0)) == "0"
    assert filters["number_fr"](3.14159, 1) == "3,1"
    with clock.frozen(NOW):
        assert plain(filters["since_fr"](NOW - timedelta(minutes=5))) == "depuis 5 min"


def test_a_chart_starts_on_the_axis_and_ends_at_the_right() -> None:
    chart = charts.area_chart([(NOW + timedelta(days=1), 50.0), (NOW, 0.0)])
    assert chart.curve == "M0.0,100.00 L1000.0,16.67"
    assert chart.ticks == (0.0, 20.0, 40.0, 60.0)
    assert chart.moments[0] == NOW


def test_a_chart_of_one_instant_is_refused() -> None:
    with pytest.raises(ValueError, match="two instants"):
        charts.area_chart([(NOW, 1.0), (NOW, 2.0)])
