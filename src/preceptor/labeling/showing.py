"""Other people's text as markup: the only two functions that return any.

Nothing else in this room marks text as safe; a test looks for it.
"""

import re
import unicodedata
from functools import cache

from markdown_it import MarkdownIt
from markupsafe import Markup, escape

# What changes how text looks without being seen: controls, marks of writing direction, zero-width
# characters, soft hyphens, tags.
HIDDEN = re.compile(
    "[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
JOINERS = "\u200c\u200d"  # of emoji, and of letters in Persian or Hindi


def shown(text: str) -> Markup:
    """A text as it is, with what cannot be seen as visible marks."""
    parts = []
    end = 0
    for match in HIDDEN.finditer(text):
        before = text[match.start() - 1 : match.start()]
        if match.group() in JOINERS and before > "\u00ff":
            continue
        parts += [escape(text[end : match.start()]), _mark(match.group())]
        end = match.end()
    return Markup("").join([*parts, escape(text[end:])])


def visible(text: str) -> str:
    """The same where no markup can stand: codes instead of marks; joiners stay."""
    return HIDDEN.sub(
        lambda found: found[0] if found[0] in JOINERS else f"U+{ord(found[0]):04X}", text
    )


def markdown(text: str) -> Markup:
    """A guideline: markdown without HTML and without images from elsewhere."""
    return Markup(_markdown().render(visible(text)))  # noqa: S704 - its HTML is off


def _mark(character: str) -> Markup:
    code = f"U+{ord(character):04X}"
    name = unicodedata.name(character, "control character").lower()
    return Markup('<span class="unseen" title="{}">{}</span>').format(f"{code}, {name}", code)


@cache
def _markdown() -> MarkdownIt:
    # This preset escapes HTML and refuses `javascript:` links.
    return MarkdownIt("js-default").disable("image")
