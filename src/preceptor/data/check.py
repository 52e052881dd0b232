"""`preceptor data check`: what files hold, and everything that is wrong with them, for people."""

import textwrap
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
WIDTH = 80
SHOWN = 8
"""Places that are shown of one problem, and labels of one kind; `--json` has up to 1,000."""


def profile_text(profile: Json) -> str:
    """A profile in lines of at most 80 columns."""
    return "\n".join(_lines(profile))


def num_errors(profiles: list[Json]) -> int:
    """How many errors were found in all files."""
    return sum(error["count"] for profile in profiles for error in profile["errors"])


def _lines(profile: Json) -> Iterator[str]:
    held = profile["kind"] or "nothing that can be read"
    form = f", format {profile['format']}" if profile["format"] else ""
    yield from _wrap(f"{profile['path']}: {held}{form}", "", "  ")
    yield _row("rows", f"{profile['rows']:,}")
    yield _row("records", f"{profile['records']:,}")
    if profile["records"]:
        yield from _contents(profile)
    for severity in ("errors", "warnings"):
        if profile[severity]:
            yield f"  {severity}"
        for problem in profile[severity]:
            yield from _wrap(f"{problem['count']:>7,}  {problem['rule']}", "  ", " " * 11)
            places = problem["places"][:SHOWN]
            more = problem["count"] - len(places)
            short = [place.removeprefix(f"{profile['path']}:") for place in places]
            shown = ", ".join(short) if places != [profile["path"]] else "the whole file"
            told = shown + (f" and {more:,} more" if more else "")
            head = "line " if len(short) == 1 and short[0].isdigit() and not more else "lines "
            head = "" if shown == "the whole file" else head
            yield from _wrap(head + told, " " * 11, " " * 11)
    if not profile["errors"]:
        yield "  no errors" + ("" if profile["warnings"] else ", no warnings")


def _contents(profile: Json) -> Iterator[str]:
    unit = profile["lengths"]["unit"]
    for name in ("prompt", "response"):
        if spread := profile["lengths"][name]:
            told = f"median {spread['median']:,.0f}, nine in ten up to {spread['p90']:,.0f}, "
            name = "text" if profile["kind"] == "documents" else name
            yield _row(f"{name}, {unit}", told + f"longest {spread['max']:,}")
    again = f"{profile['repeated_prompts']:,}"
    if lines := [place.rpartition(":")[2] for place in profile["repeated_prompts_at"][:SHOWN]]:
        more = ", .." if profile["repeated_prompts"] > len(lines) else ""
        again += f": line{'s' * (len(lines) > 1)} {', '.join(lines)}{more}"
    is_text = profile["kind"] == "documents"
    yield _row("repeated texts" if is_text else "repeated prompts", again)
    if leaks := profile.get("leaks"):
        told = f"{leaks['records'] or 'none'} out of {leaks['of']}"
        told += f", {leaks['near'] or 'none'} nearly" if "near" in leaks else ""
        yield from _wrap(_row("leaks", told), "", " " * 22)
    for name, counts in profile["labels"].items():
        number = profile["distinct"][name]
        shown = ", ".join(f"{label} {count:,}" for label, count in list(counts.items())[:SHOWN])
        more = ", .." if number > SHOWN else ""
        head = _row(name.replace("_", " "), f"{number:,}: ")
        yield from _wrap(head + shown + more, "", " " * 22)
    if ranked := profile.get("rankings"):
        sizes = ", ".join(f"{count:,} of {size}" for size, count in ranked["responses"].items())
        yield from _wrap(_row("responses", sizes), "", " " * 22)
        pairs = f"{ranked['strict_pairs']:,} in order, {ranked['tied_pairs']:,} tied"
        yield _row("pairs", pairs)
        yield _row("the longer wins", _estimate(ranked["longer_wins"]))
        if ranked["agreement"]:
            yield _row("labelers agree", _estimate(ranked["agreement"]))


def _estimate(found: Json) -> str:
    if found["mean"] is None:
        return str(found["reason"])
    told = f"{found['mean']:.3f}"
    return told if found["low"] is None else f"{told} ({found['low']:.3f} to {found['high']:.3f})"


def _row(name: str, value: str) -> str:
    return f"  {name:<19} {value}"


def _wrap(text: str, first: str, later: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=later,
        drop_whitespace=True,
        break_on_hyphens=False,
        break_long_words=False,  # a path is copied whole
    )
