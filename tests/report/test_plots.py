"""Plots are plain SVG text, the same for the same data, and bear gaps."""

import re

import pytest

from preceptor.report.plots import MOST_POINTS, Row, Series, bars, dots, lines, running_mean, thin

NULL = {"mean": None, "low": None, "high": None, "n": 0}


def point(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 5}


def test_the_numbers_stand_as_text():
    svg = dots("Title", [Row("SFT", "#123456", point(0.423))], x_label="rate")
    assert "42 %  (32–52)" in svg and ">SFT<" in svg and "#123456" in svg


def test_an_unmeasured_row_keeps_its_place():
    svg = dots("Title", [Row("a", "#111111", NULL), Row("b", "#222222", point(0.5))], x_label="x")
    assert "not measured" in svg and ">a<" in svg
    assert "#111111" not in svg


def test_a_bar_of_zero_with_a_zero_interval_is_drawn():
    zero = {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 5}
    assert ">0<" in bars("Title", [Row("a", "#111111", zero), Row("b", "#222222", NULL)])


def test_nothing_points_outside_and_ids_are_own():
    first = lines("One", [Series("#111111", [1, 2], [3, 4], "points")], x_label="x", y_label="y")
    second = lines("Two", [Series("#111111", [1, 2], [3, 4], "points")], x_label="x", y_label="y")
    assert "http" not in first and "<metadata" not in first
    ids = re.findall(r' id="([^"]*)"', first)
    assert ids and set(ids) <= set(re.findall(r"#([\w.-]+)", first))
    assert not set(ids) & set(re.findall(r' id="([^"]*)"', second))


def test_the_label_is_escaped():
    svg = lines('<b> & "c"', [Series("#111111", [1], [1])], x_label="x", y_label="y")
    assert 'aria-label="&lt;b> &amp; &quot;c&quot;; y against x"' in svg
    assert "<b>" not in svg


def test_long_series_are_thinned_to_means_that_keep_the_whole_mean():
    xs, ys = thin(range(10 * MOST_POINTS), range(10 * MOST_POINTS))
    assert len(xs) == len(ys) == MOST_POINTS
    assert sum(ys) / len(ys) == pytest.approx((10 * MOST_POINTS - 1) / 2)


def test_a_last_group_that_is_not_full_is_a_mean_too():
    count = 10 * MOST_POINTS + 3
    _, ys = thin(range(count), [2.5] * count)
    assert set(ys) == {2.5}


def test_short_series_are_kept_as_they_are():
    assert thin([1, 2, 3], [5, 1, 7]) == ([1, 2, 3], [5, 1, 7])


def test_a_running_mean_follows_a_straight_line():
    assert running_mean([0, 1, 2, 3, 4], 3) == [0.5, 1, 2, 3, 3.5]
