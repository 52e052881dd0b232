"""What InstructGPT did to its prompts (section 3.2, appendix A): no repetitions, at most 200 of a
user, splits by user, personal data out of the training split. Every prompt that goes is counted.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from preceptor.data.conversations import GROUP
from preceptor.data.duplicates import DuplicateIndex, asked_text, normal_form
from preceptor.data.files import origin_of
from preceptor.data.languages import UNDETERMINED, identify_language, known_languages
from preceptor.data.personal import REGION, find_personal, mask_all, mask_personal
from preceptor.data.records import Prompt, text_of
from preceptor.errors import DataError

MAX_PER_USER = 200
SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}
IN_WORDS = {
    "empty": "nothing in it",
    "too_long": "too long",
    "language": "in another language",
    "same": "the same as an earlier one",
    "prefix": "begins as an earlier one for long",
    "near": "nearly the same as an earlier one",
    "cap": f"more than {MAX_PER_USER} of its user",
}
"""The reasons as a person is told them."""
FEW_USERS = 50
"""Below this, a draw for each user alone would miss the shares by too much."""


@dataclass(frozen=True)
class Dropped:
    """A prompt that was left out, and why: empty, too_long, language, same, prefix, near, cap.

    `of` is the text that it repeats, where it repeats one; the index's key for what came earlier.
    """

    prompt: Prompt
    reason: str
    of: str = ""


@dataclass(frozen=True)
class CleanPrompts:
    """What is left of the prompts by split, what went, and what was masked in the training split.

    Every prompt that came in stands once, in a split or among the dropped.
    """

    splits: dict[str, list[Prompt]]
    dropped: list[Dropped]
    masked: Counter[str] = field(default_factory=Counter)

    def counts(self) -> dict[str, int]:
        """How many prompts each split has and each reason took."""
        kept = {name: len(prompts) for name, prompts in self.splits.items()}
        return kept | dict(Counter(f"dropped: {gone.reason}" for gone in self.dropped))


@dataclass
class Plan:
    """What becomes of each prompt, by its place: its split or the reason for which it goes.

    It holds no text, so a file is read once to decide and again to write (`carried_out`).
    """

    fates: list[str]
    languages: list[str]
    of: dict[int, int | str] = field(default_factory=dict)  # what it repeats: a place, or a key

    def counts(self) -> dict[str, int]:
        """How many prompts each split has and each reason took."""
        found = Counter(self.fates)
        gone = {f"dropped: {name}": found[name] for name in IN_WORDS if found[name]}
        return {name: found[name] for name in found if name not in IN_WORDS} | gone


def clean_prompts(prompts: Iterable[Prompt], **options: Any) -> CleanPrompts:
    """All steps of InstructGPT section 3.2, as `plan_cleaning` decides them, in memory.

    Only the split `train` is masked, and its `meta` with it. A user whose name is personal data, an
    e-mail address for instance, has a pseudonym in every split.
    """
    prompts = list(prompts)
    plan = plan_cleaning(prompts, **options)
    splits: dict[str, list[Prompt]] = {name: [] for name in options.get("shares", SHARES)}
    dropped: list[Dropped] = []
    counts: Counter[str] = Counter()
    for fate, found in carried_out(prompts, plan, options.get("region", REGION), masked=counts):
        if isinstance(found, Dropped):
            dropped.append(found)
        else:
            splits[fate].append(found)
    return CleanPrompts(splits, dropped, counts)


def plan_cleaning(
    prompts: Iterable[Prompt],
    *,
    max_per_user: int = MAX_PER_USER,
    max_chars: int | None = None,
    languages: Sequence[str] = (),
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    region: str | None = REGION,
    index: DuplicateIndex | None = None,
) -> Plan:
    """What InstructGPT section 3.2 makes of each prompt; the earliest of duplicates is kept.

    What counts as a repetition is what was asked, without system turns: many prompts share one.
    Later turns of a conversation, and examples of one few-shot prompt, do not repeat each other.
    Languages are noted in `meta` and kept whatever they are, unless `languages` names some; what is
    in no language that can be told stays. Two prompts that differ in personal data alone are the
    same. `index` brings texts that were asked before, in a store for instance, and takes the new
    ones; it holds what was asked, and besides it about a hundred bytes of a prompt are held.

    Raises:
        DataError: `languages` has a code that no language has.
    """
    for code in languages:
        if code not in known_languages():
            known = ", ".join(known_languages())
            raise DataError(f"no language {code}. Codes known: {known}.")
    index = DuplicateIndex() if index is None else index
    plan = Plan([], [])
    places: dict[str, int] = {}  # of those that are kept, by their keys in the index
    kin: dict[str, set[str]] = defaultdict(set)  # by origin: keys of those that are kept
    of_user: dict[str, list[tuple[float, int]]] = defaultdict(list)
    owners: dict[int, float] = {}
    numbers = itertools.count(len(index) + 1)
    for place, prompt in enumerate(prompts):
        text = text_of(prompt.prompt)
        language = identify_language(text).code
        plan.languages.append(language)
        plan.fates.append("")
        if not text.strip():
            plan.fates[place] = "empty"
        elif max_chars is not None and len(text) > max_chars:
            plan.fates[place] = "too_long"
        elif languages and language not in (*languages, UNDETERMINED):
            plan.fates[place] = "language"
        else:
            masked = asked_text(mask_personal(prompt.prompt, region)[0])
            own = kin[origin_of(prompt)] if GROUP in prompt.meta else set[str]()
            if found := index.find(masked, kin=own):
                plan.fates[place], plan.of[place] = found.rule, places.get(found.of, found.of)
                continue
            key = next(name for name in map(str, numbers) if name not in index)
            index.add(key, masked)
            own.add(key)
            places[key] = place
            owners[place] = _draw(seed, prompt.user or origin_of(prompt))
            if prompt.user:
                of_user[prompt.user].append((_draw(seed, normal_form(text)), place))
    for place in _over_the_cap(of_user, max_per_user):
        plan.fates[place] = "cap"
        del owners[place]
    home = _homes(owners.values(), shares)
    for place, owner in owners.items():
        plan.fates[place] = home[owner]
    return plan


def carried_out(
    prompts: Iterable[Prompt],
    plan: Plan,
    region: str | None = REGION,
    *,
    only: Container[str] | None = None,
    masked: Counter[str] | None = None,
) -> Iterator[tuple[str, Prompt | Dropped]]:
    """The same prompts again, in their order, each with its fate: as it is kept, or why it goes.

    `only` names the fates that are wanted; `masked` counts what is masked in the training split.

    Raises:
        DataError: these are not the prompts that were planned for.
    """
    repeated = {place for place in plan.of.values() if isinstance(place, int)}
    texts: dict[int, str] = {}
    place = -1
    for place, prompt in enumerate(prompts):
        if place == len(plan.fates):
            break  # one more than there were
        if place in repeated:
            texts[place] = text_of(prompt.prompt)
        fate = plan.fates[place]
        if only is not None and fate not in only:
            continue
        if fate in IN_WORDS:
            of = plan.of.get(place, "")
            yield fate, Dropped(prompt, fate, texts[of] if isinstance(of, int) else of)
            continue
        kept = replace(
            prompt,
            user=_pseudonym(prompt.user, region),
            meta=prompt.meta | {"language": plan.languages[place]},
        )
        if fate == "train":
            kept, found = _without_personal(kept, region)
            if masked is not None:
                masked.update(found)
        yield fate, kept
    if place + 1 != len(plan.fates):
        raise DataError(
            f"there were {len(plan.fates):,} prompts, and not so many when they were read again: a "
            "file changed while it was read. Run the command once more."
        )


def dropped_row(gone: Dropped) -> dict[str, Any]:
    """What went, as a row for a file: the prompt with its reason and what it repeats."""
    row = {"prompt": gone.prompt.prompt, "user": gone.prompt.user, "reason": gone.reason}
    return row | ({"of": gone.of} if gone.of else {})


def _without_personal(prompt: Prompt, region: str | None) -> tuple[Prompt, Counter[str]]:
    beside = {key: value for key, value in prompt.meta.items() if key != GROUP}
    (text_or_turns, meta), counts = mask_all([prompt.prompt, beside], region)
    if GROUP in prompt.meta:  # it says what belongs together, and must go on saying it
        meta[GROUP] = _pseudonym(prompt.meta[GROUP], region)
    return replace(prompt, prompt=text_or_turns, meta=meta), counts


def _pseudonym(name: Any, region: str | None) -> Any:
    """A name that is personal data as a hash of it: the same everywhere; a guess can be tried."""
    if not isinstance(name, str) or not find_personal(name, region):
        return name
    digest = hashlib.blake2b(name.encode(errors="replace"), digest_size=8).hexdigest()
    return f"user-{digest}"


REPEATED = ("same", "prefix", "near", "cap")
"""Reasons that say nothing against the prompt itself."""


@dataclass(frozen=True)
class Looked:
    """A prompt as a store takes it: without personal data, and what was found in it.

    `reason` says in words why `clean_prompts` would leave it out; it is empty where it would not.
    `masked` counts what became a placeholder, by kind; it is None where nothing was looked for.
    `of` is the place, among those that were looked at together, of the one that it repeats.
    """

    prompt: Prompt
    reason: str
    language: str
    masked: Counter[str] | None
    of: int | None = None


def look_at(
    prompts: Sequence[Prompt],
    *,
    keep_all: bool = False,
    keep_personal: bool = False,
    languages: Sequence[str] = (),
    region: str | None = REGION,
) -> list[Looked]:
    """Every prompt with what a store has to know of it, in their order.

    Personal data go from all of them: labelers read those of every split. With `keep_all` none goes
    for what it repeats or for its user's number, with `keep_personal` they stay as they are. The
    user's name is left: a store has pseudonyms of its own.

    Raises:
        DataError: `languages` has a code that no language has.
    """
    plan = plan_cleaning(prompts, languages=languages, region=region)
    found = []
    for place, prompt in enumerate(prompts):
        fate, of = plan.fates[place], plan.of.get(place)
        reason = "" if keep_all and fate in REPEATED else IN_WORDS.get(fate, "")
        clean, masked = (prompt, None) if keep_personal else _without_personal(prompt, region)
        repeats = of if isinstance(of, int) and reason else None
        found.append(Looked(clean, reason, plan.languages[place], masked, repeats))
    return found


def without_personal(prompts: Sequence[Prompt], *, region: str | None = REGION) -> list[Looked]:
    """Prompts that come with labels or tasks: nothing speaks against them, personal data go."""
    return [
        Looked(clean, "", "", masked)
        for clean, masked in (_without_personal(prompt, region) for prompt in prompts)
    ]


def cap_per_user(
    prompts: Sequence[Prompt], max_per_user: int = MAX_PER_USER, *, seed: int = 0
) -> tuple[list[Prompt], list[Dropped]]:
    """At most so many prompts of each user (section 3.2: 200), whatever the order of the file.

    Those of smallest hash stay. Prompts without a user are nobody's and are not capped.
    """
    of_user: dict[str, list[tuple[float, int]]] = defaultdict(list)
    for at, prompt in enumerate(prompts):
        if prompt.user:
            of_user[prompt.user].append((_draw(seed, normal_form(text_of(prompt.prompt))), at))
    over = set(_over_the_cap(of_user, max_per_user))
    kept = [prompt for at, prompt in enumerate(prompts) if at not in over]
    return kept, [Dropped(prompts[at], "cap") for at in sorted(over)]


def _over_the_cap(
    of_user: Mapping[str, list[tuple[float, int]]], max_per_user: int
) -> Iterator[int]:
    """Places of the prompts that are too many, given every user's draws and places."""
    for drawn in of_user.values():
        yield from (place for _, place in sorted(drawn)[max_per_user:])


def split_by_user(
    prompts: Sequence[Prompt], shares: Mapping[str, float] = SHARES, *, seed: int = 0
) -> dict[str, list[Prompt]]:
    """Prompts by split; all of a user's stand in one (section 3.2), a conversation's turns too.

    A user's split depends on nobody else, so that it stays when others come; but of fewer than 50
    users, whose shares would come out by chance, the order of their hashes is cut at the shares.

    Raises:
        ValueError: the shares do not sum to 1.
    """
    owners = [_draw(seed, prompt.user or origin_of(prompt)) for prompt in prompts]
    home = _homes(owners, shares)
    splits: dict[str, list[Prompt]] = {name: [] for name in shares}
    for prompt, owner in zip(prompts, owners, strict=True):
        splits[home[owner]].append(prompt)
    return splits


def _homes(owners: Iterable[float], shares: Mapping[str, float]) -> dict[float, str]:
    """The split of each owner by its draw; of few the order of the draws is cut at the shares."""
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares are {dict(shares)}; they must sum to 1.")
    order = sorted(set(owners))
    few = len(order) < FEW_USERS
    return {
        owner: _at_share((at + 0.5) / len(order) if few else owner, shares)
        for at, owner in enumerate(order)
    }


def split_of(user: str, shares: Mapping[str, float] = SHARES, *, seed: int = 0) -> str:
    """The split of a user, drawn from a hash: the same today and tomorrow, here and elsewhere."""
    return _at_share(_draw(seed, user), shares)


def _at_share(place: float, shares: Mapping[str, float]) -> str:
    upper = 0.0
    for name, share in shares.items():
        upper += share
        if place < upper:
            return name
    return [name for name, share in shares.items() if share > 0][-1]


def _draw(seed: int, text: str) -> float:
    digest = hashlib.blake2b(f"{seed}:{text}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
