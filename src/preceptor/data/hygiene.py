"""What InstructGPT did to its prompts (section 3.2, appendix A): no repetitions, at most 200 of a
user, splits by user, personal data out of the training split. Every prompt that goes is counted.
"""

import hashlib
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from preceptor.data.conversations import GROUP
from preceptor.data.duplicates import DuplicateIndex, normal_form
from preceptor.data.files import origin_of
from preceptor.data.languages import UNDETERMINED, identify_language, known_languages
from preceptor.data.personal import REGION, find_personal, mask_all, mask_personal
from preceptor.data.records import Messages, Prompt, text_of
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


def dropped_rows(found: CleanPrompts) -> Iterator[dict[str, Any]]:
    """What went, as rows for a file: the prompt with its reason and what it repeats."""
    for gone in found.dropped:
        row = {"prompt": gone.prompt.prompt, "user": gone.prompt.user, "reason": gone.reason}
        yield row | ({"of": gone.of} if gone.of else {})


def clean_prompts(
    prompts: Iterable[Prompt],
    *,
    max_per_user: int = MAX_PER_USER,
    max_chars: int | None = None,
    languages: Sequence[str] = (),
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
    region: str | None = REGION,
    index: DuplicateIndex | None = None,
) -> CleanPrompts:
    """All steps of InstructGPT section 3.2 in their order; the earliest of duplicates is kept.

    What counts as a repetition is what was asked, without system turns: many prompts share one.
    Later turns of a conversation, and examples of one few-shot prompt, do not repeat each other.
    Languages are noted in `meta` and kept whatever they are, unless `languages` names some; what is
    in no language that can be told stays. Two prompts that differ in personal data alone are the
    same. Only the split `train` is masked, and its `meta` with it. A user whose name is personal
    data, an e-mail address for instance, has a pseudonym in every split.
    `index` brings texts that were asked before, in a store for instance, and takes the new ones.

    Raises:
        DataError: `languages` has a code that no language has.
    """
    for code in languages:
        if code not in known_languages():
            known = ", ".join(known_languages())
            raise DataError(f"no language {code}. Codes known: {known}.")
    index = DuplicateIndex() if index is None else index
    dropped: list[Dropped] = []
    kept: list[Prompt] = []
    texts: dict[str, str] = {}
    kin: dict[str, set[str]] = defaultdict(set)  # by origin: keys of those that are kept
    numbers = itertools.count(len(index) + 1)
    for prompt in prompts:
        text = text_of(prompt.prompt)
        language = identify_language(text)
        if not text.strip():
            dropped.append(Dropped(prompt, "empty"))
        elif max_chars is not None and len(text) > max_chars:
            dropped.append(Dropped(prompt, "too_long"))
        elif languages and language.code not in (*languages, UNDETERMINED):
            dropped.append(Dropped(prompt, "language"))
        else:
            masked = asked_text(mask_personal(prompt.prompt, region)[0])
            own = kin[origin_of(prompt)] if GROUP in prompt.meta else set[str]()
            if found := index.find(masked, kin=own):
                dropped.append(Dropped(prompt, found.rule, texts.get(found.of, found.of)))
                continue
            key = next(name for name in map(str, numbers) if name not in index)
            index.add(key, masked)
            own.add(key)
            texts[key] = text
            kept.append(replace(prompt, meta=prompt.meta | {"language": language.code}))
    kept, over = cap_per_user(kept, max_per_user, seed=seed)
    dropped += over
    splits = split_by_user(kept, shares, seed=seed)
    counts: Counter[str] = Counter()
    for name, split in splits.items():
        split[:] = [replace(prompt, user=_pseudonym(prompt.user, region)) for prompt in split]
        if name == "train":
            masked_here = [_without_personal(prompt, region) for prompt in split]
            split[:] = [prompt for prompt, _ in masked_here]
            counts = sum((found for _, found in masked_here), counts)
    return CleanPrompts(splits, dropped, counts)


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


def asked_text(prompt: str | Messages) -> str:
    """What was asked, without what a system turn says before it."""
    if isinstance(prompt, str):
        return prompt
    turns = [turn for turn in prompt if turn["role"] != "system"]
    return turns[0]["content"] if len(turns) == 1 else text_of(turns)


def why_dropped(prompts: Sequence[Prompt], **options: Any) -> list[str | None]:
    """For each prompt the reason for which `clean_prompts` leaves it out, in words, or None."""
    numbered = [replace(prompt, meta=prompt.meta | {"at": at}) for at, prompt in enumerate(prompts)]
    reasons: list[str | None] = [None] * len(prompts)
    for gone in clean_prompts(numbered, **options).dropped:
        reasons[gone.prompt.meta["at"]] = IN_WORDS[gone.reason]
    return reasons


def cap_per_user(
    prompts: Sequence[Prompt], max_per_user: int = MAX_PER_USER, *, seed: int = 0
) -> tuple[list[Prompt], list[Dropped]]:
    """At most so many prompts of each user (section 3.2: 200), whatever the order of the file.

    Those of smallest hash stay. Prompts without a user are nobody's and are not capped.
    """
    by_user: dict[str, list[int]] = defaultdict(list)
    for at, prompt in enumerate(prompts):
        if prompt.user:
            by_user[prompt.user].append(at)
    over: set[int] = set()
    for own in by_user.values():
        own.sort(key=lambda at: (_draw(seed, normal_form(text_of(prompts[at].prompt))), at))
        over.update(own[max_per_user:])
    kept = [prompt for at, prompt in enumerate(prompts) if at not in over]
    return kept, [Dropped(prompts[at], "cap") for at in sorted(over)]


def split_by_user(
    prompts: Sequence[Prompt], shares: Mapping[str, float] = SHARES, *, seed: int = 0
) -> dict[str, list[Prompt]]:
    """Prompts by split; all of a user's stand in one (section 3.2), a conversation's turns too.

    A user's split depends on nobody else, so that it stays when others come; but of fewer than 50
    users, whose shares would come out by chance, the order of their hashes is cut at the shares.

    Raises:
        ValueError: the shares do not sum to 1.
    """
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"shares are {dict(shares)}; they must sum to 1.")
    users = sorted(
        {prompt.user or origin_of(prompt) for prompt in prompts}, key=lambda u: _draw(seed, u)
    )
    few = len(users) < FEW_USERS
    home = {
        user: _at_share((at + 0.5) / len(users), shares)
        if few
        else split_of(user, shares, seed=seed)
        for at, user in enumerate(users)
    }
    splits: dict[str, list[Prompt]] = {name: [] for name in shares}
    for prompt in prompts:
        splits[home[prompt.user or origin_of(prompt)]].append(prompt)
    return splits


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
