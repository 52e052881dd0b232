"""What names a person in a text: found by shape, held to the shape's own check, masked.

InstructGPT filtered personal data out of the training split (section 3.2) and does not say how.

Found: e-mail addresses, of any script; phone numbers that their country's plan knows, national ones
of one region; payment cards (Luhn); IBANs (mod 97); IP addresses; keys of well-known services. Not
found: names of people, postal addresses, dates of birth, identity numbers, and whatever is misspelt
on purpose.
"""

import bisect
import ipaddress
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from preceptor.data.records import Messages
from preceptor.errors import DataError

REGION = "US"
"""Whose national phone numbers are known as such; with a + in front every country's are."""

# Every part is bounded, so that no text can make a search slow.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7a3\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Letters of scripts with no space between words, or none before an ending: Thai, Chinese, .."""
_SIGNS = "\u0300-\u036f\u0900-\u0d7f\u0e00-\u0eff"
"""Accents and vowels that are characters of their own, which `\\w` does not have."""
_TOP_DOMAINS = (
    "中国|中國|公司|公益|网络|网址|网站|网店|在线|中文网|商城|商店|商标|政务|政府|组织机构|机构|移动|手机|"
    "集团|信息|新闻|游戏|娱乐|健康|企业|招聘|购物|时尚|食品|餐厅|慈善|台湾|台灣|香港|新加坡|世界|我爱你|"
    "みんな|コム|ストア|セール|ポイント|ファッション|クラウド|닷넷|닷컴|한국|คอม|ไทย|ລາວ|"
    "бг|бел|дети|ею|католик|ком|мкд|мон|москва|онлайн|орг|рус|рф|сайт|срб|укр|қаз|ελ|ευ|հայ|გე|"
    "ישראל|קום|امارات|ایران|بازار|بھارت|تونس|سودان|سورية|شبكة|عراق|عرب|عمان|فلسطين|قطر|كوم|مصر|"
    "مليسيا|موريتانيا|موقع|همراه|پاکستان|الاردن|البحرين|الجزائر|السعودية|المغرب|"
    "भारत|भारतम्|भारोत|कॉम|नेट|संगठन|বাংলা|ভারত|ভাৰত|ਭਾਰਤ|ભારત|ଭାରତ|இந்தியா|இலங்கை|சிங்கப்பூர்|"
    "భారత్|ಭಾರತ|ഭാരതം|ලංකා"
)
"""Those that are no ASCII, but for rare ones: any word there would make a host of a mention."""
_HOST = re.compile(
    rf"@(?:(?:[^\W_]|[-{_SIGNS}]){{1,63}}\.){{1,8}}"
    rf"(?:xn--[A-Za-z0-9-]{{2,59}}|[A-Za-z]{{2,24}}|{_TOP_DOMAINS})"
    rf"(?!-|(?![{_UNSPACED}])[\w{_SIGNS}])"
)
"""An e-mail address from its @ on, for which a text is searched fast; the name stands before it."""
_IN_NAME = rf"[\w.%+{_SIGNS}-]"
_NAME = re.compile(rf"(?:(?<!{_IN_NAME})|(?<=[{_UNSPACED}]))(?:(?![{_UNSPACED}]){_IN_NAME})+\Z")
_NAME_OF_ANY = re.compile(rf"(?<!{_IN_NAME}){_IN_NAME}+\Z")
_LONGEST_NAME = 64
_KEY = re.compile(
    r"(?<![\w-])(?:sk-[\w-]{20,200}|gh[pousr]_\w{36,255}|AKIA[0-9A-Z]{16}|xox[abprs]-[\w-]{10,200})"
)
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)")
_CARD = re.compile(r"(?<![\w.-])[2-6]\d(?:[ -]?\d){11,17}(?![\w-])")
_IPV4 = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\d)")
_NUMBERED = re.compile(
    r"(?:§|\b(?:sections?|versions?|chapters?|releases?|clauses?|articles?|paragraphs?|appendix|"
    r"figures?|tables?|rules?|steps?|builds?|items?|no|v|ver|sec|fig|ch))[.:]? ?$",
    re.IGNORECASE,
)
"""Before four numbers with points between them: then they count chapters, and are no address."""
_SUM = re.compile(r"\d+\s+[-\u2013]\s+\d+|\d{5}\s?[-\u2013]\s?\d{5}")
"""One number less another, which is no phone number."""
_IPV6 = re.compile(r"(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])")
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")


@dataclass(frozen=True)
class Finding:
    """One place in a text; kind is EMAIL, KEY, IBAN, CARD, IP or PHONE."""

    kind: str
    start: int
    end: int


def find_personal(text: str, region: str | None = REGION) -> list[Finding]:
    """Everything found in a text, in order, no two overlapping; the surer kind comes first."""
    found: list[Finding] = []  # in order of the text
    for finding in _all(text, region):
        at = bisect.bisect(found, finding.start, key=lambda other: other.start)
        free_before = at == 0 or found[at - 1].end <= finding.start
        if free_before and (at == len(found) or finding.end <= found[at].start):
            found.insert(at, finding)
    return found


def mask_personal(
    prompt: str | Messages, region: str | None = REGION
) -> tuple[str | Messages, Counter[str]]:
    """The prompt with placeholders such as <EMAIL_1>, and how many of each kind were masked.

    What is equal has one placeholder throughout a prompt, so that the text still makes sense.
    """
    [masked], counts = mask_all([prompt], region)
    return masked, counts


def mask_all(values: list[Any], region: str | None = REGION) -> tuple[list[Any], Counter[str]]:
    """The same for several values of one record, whatever texts lie in them; keys are left."""
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()

    def mask(value: Any) -> Any:
        if isinstance(value, str):
            return _mask(value, region, names, counts)
        if isinstance(value, list):
            return [mask(inner) for inner in value]
        if isinstance(value, dict):
            return {key: mask(inner) for key, inner in value.items()}
        return value

    return [mask(value) for value in values], counts


def check_region(region: str) -> str:
    """The region as it is known, such as US.

    Raises:
        DataError: there is none of this name.
    """
    from phonenumbers import SUPPORTED_REGIONS

    if region.upper() not in SUPPORTED_REGIONS:
        raise DataError(f"no region {region}. It is a country of two letters, such as US or DE.")
    return region.upper()


def _mask(
    text: str, region: str | None, names: dict[tuple[str, str], str], counts: Counter[str]
) -> str:
    pieces, at = [], 0
    for finding in find_personal(text, region):
        value = text[finding.start : finding.end]
        if finding.kind in ("PHONE", "CARD", "IBAN"):  # however it is spaced
            value = re.sub(r"[^\w+]", "", value)
        number = 1 + sum(kind == finding.kind for kind, _ in names)
        name = names.setdefault((finding.kind, value.casefold()), f"<{finding.kind}_{number}>")
        pieces += [text[at : finding.start], name]
        at = finding.end
        counts[finding.kind] += 1
    return "".join([*pieces, text[at:]])


def _all(text: str, region: str | None) -> Iterator[Finding]:
    yield from _emails(text)
    for match in _KEY.finditer(text):
        yield Finding("KEY", match.start(), match.end())
    for match in _IBAN.finditer(text):
        if end := _iban_length(match[0]):
            yield Finding("IBAN", match.start(), match.start() + end)
    for match in _CARD.finditer(text):
        if _passes_luhn(match[0]):
            yield Finding("CARD", match.start(), match.end())
    for pattern in (_IPV4, _IPV6):
        for match in pattern.finditer(text):
            before = text[max(0, match.start() - 12) : match.start()]
            if _is_address(match[0]) and not (pattern is _IPV4 and _NUMBERED.search(before)):
                yield Finding("IP", match.start(), match.end())
    if sum(character.isdigit() for character in text) >= 7:
        from phonenumbers import Leniency, PhoneNumberMatcher

        for number in PhoneNumberMatcher(text, region, leniency=Leniency.VALID):
            if _SUM.fullmatch(number.raw_string):
                continue
            opened = number.raw_string.startswith("(") and ")" not in number.raw_string
            yield Finding("PHONE", number.start + opened, number.end)


def _emails(text: str) -> Iterator[Finding]:
    for host in _HOST.finditer(text):
        before = text[max(0, host.start() - _LONGEST_NAME - 1) : host.start()]
        if host[0].isascii():
            name = _NAME.search(before)
            # Words that no space parts from a mention are no name: thanks@user.name in Chinese.
            if name is None or len(name[0]) > _LONGEST_NAME:
                continue
            length = len(name[0])
        elif name := _NAME_OF_ANY.search(before):
            length = min(len(name[0]), _LONGEST_NAME)
        else:
            continue
        yield Finding("EMAIL", host.start() - length, host.end())


def _iban_length(text: str) -> int:
    """How much of the match is an IBAN: words in capitals may follow it."""
    for end in range(len(text), 14, -1):
        code = text[:end].replace(" ", "")
        ends = end == len(text) or not (text[end - 1] + text[end]).isalnum()
        if ends and text[end - 1] != " " and 15 <= len(code) <= 34 and _passes_mod_97(code):
            return end
    return 0


def _passes_mod_97(code: str) -> bool:
    return int("".join(str(int(c, 36)) for c in code[4:] + code[:4])) % 97 == 1


def _passes_luhn(text: str) -> bool:
    digits = [int(c) for c in text if c.isdigit()]
    doubled = [d * 2 - 9 * (d > 4) if at % 2 else d for at, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0 and len(set(digits)) > 1


def _is_address(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv4Address):
        return not (address.is_loopback or address in _THIS_NETWORK)
    # Most of the rest is given to nobody, and a slice a[::2] or a name Cafe::Add looks like it.
    return not (address.is_reserved or address.is_multicast or address.is_site_local)
