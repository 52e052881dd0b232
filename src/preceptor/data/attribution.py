"""ATTRIBUTION.md: what the text came from, on which terms, and what was done to it."""

from collections.abc import Mapping

from preceptor.data.packages import PACKAGES, pins

CHANGES = (
    "Cleaned of stray blanks, empty parentheses and lost formulas; filtered; cut at sentence ends; "
    "put into prompt templates. Demonstrations are sentences or lists of the source, sometimes "
    "shortened."
)


def attribution_of(used: Mapping[str, int], in_corpus: Mapping[str, int]) -> str:
    """Markdown with one section a package: version, hash, origin, licence, records, changes."""
    lines = ["# Attribution", "", "The data in this folder was made from these packages.", ""]
    for name in sorted({*used, *in_corpus}):
        package, pin = PACKAGES[name], pins()[name]
        lines += [
            f"## {name} {pin.version}",
            "",
            f"* sha256 of the archive: `{pin.sha256}`",
            f"* origin: {package.origin}",
            f"* licence of the data: {package.licence} ({package.licence_url})",
            f"* records used: {used.get(name, 0)} in prompts and demonstrations, "
            f"{in_corpus.get(name, 0)} in the corpus",
            f"* changed: {CHANGES}",
            "",
        ]
    lines += [
        "CC BY-SA: whoever passes this data on, or text adapted from it, names the source and",
        "passes the same licence on.",
        "",
    ]
    return "\n".join(lines)
