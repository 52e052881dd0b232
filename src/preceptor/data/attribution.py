"""ATTRIBUTION.md: what the text came from, on which terms, and what was done to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from preceptor.data.package_terms import PACKAGES, Package
from preceptor.data.packages import pins

CHANGES = (
    "Cleaned of stray blanks, empty parentheses and lost formulas; filtered; cut at sentence ends; "
    "put into prompt templates. Demonstrations are sentences or lists of the source, sometimes "
    "shortened."
)
SET_CHANGES = (
    "Cleaned of markup and stray blanks, and laid out as documents; what was broken is left out. "
    "Prompts around the texts are ours."
)
SHARE_ALIKE = (
    "CC BY-SA: whoever passes this data on, or text adapted from it, names the source and",
    "passes the same licence on.",
    "",
)


def attribution_of(used: Mapping[str, int], in_corpus: Mapping[str, int]) -> str:
    """Markdown with one section a package: version, hash, origin, licence, records, changes."""
    lines = ["# Attribution", "", "The data in this folder was made from these packages.", ""]
    for name in sorted({*used, *in_corpus}):
        records = (
            f"{used.get(name, 0)} in prompts and demonstrations, "
            f"{in_corpus.get(name, 0)} in the corpus"
        )
        lines += _section(name, PACKAGES[name], records, CHANGES)
    return "\n".join([*lines, *SHARE_ALIKE])


def attribution_of_set(
    name: str, package: str, terms: Package, counts: Mapping[str, int], doubt: str = ""
) -> str:
    """The same of one set of `preceptor data get`, with its doubt where there is one."""
    lines = [f"# Attribution of {name}", ""]
    records = ", ".join(f"{count:,} in {file}" for file, count in counts.items()) or "all"
    lines += _section(package, terms, records, SET_CHANGES)
    if doubt:
        lines += [f"**In doubt:** {doubt}.", ""]
    share_alike = SHARE_ALIKE if "BY-SA" in terms.licence else ()
    return "\n".join([*lines, *share_alike])


def attribution_of_texts(sets: Sequence[tuple[str, str, Package, int]]) -> str:
    """The same of a corpus that has the text of several sets: name, package, terms, documents."""
    lines = ["# Attribution", "", "Text of this corpus was made from these packages.", ""]
    for name, package, terms, count in sets:
        records = f"{count:,} in the corpus, out of the set {name}, before it was cleaned"
        lines += _section(package, terms, records, SET_CHANGES)
    share_alike = any("BY-SA" in terms.licence for _, _, terms, _ in sets)
    return "\n".join([*lines, *(SHARE_ALIKE if share_alike else ())])


def hub_attribution(name: str, written: Mapping[Path, int]) -> str:
    """What is known of a data set of the hub: its name; its terms stand on its card."""
    counts = ", ".join(f"{count:,} in {path.name}" for path, count in written.items())
    return (
        f"# Attribution of {name}\n\n* origin: the hub's data set {name.removeprefix('hf:')}\n"
        "* licence: as its card on the hub says; it was not read here\n"
        f"* records used: {counts}\n* changed: read as our own records\n"
    )


def _section(name: str, terms: Package, records: str, changes: str) -> list[str]:
    pin = pins()[name]
    return [
        f"## {name} {pin.version}",
        "",
        f"* sha256 of the archive: `{pin.sha256}`",
        f"* origin: {terms.origin}",
        f"* licence of the data: {terms.licence} ({terms.licence_url})",
        f"* records used: {records}",
        f"* changed: {changes}",
        "",
    ]
