"""Hygiene of prompts: nothing lost uncounted, nothing twice, no user on two sides or over 200."""

import json
import os
import random
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loading import load_records
from typer.testing import CliRunner, Result

from preceptor.cli import app
from preceptor.data import duplicates
from preceptor.data.conversations import GROUP
from preceptor.data.duplicates import DuplicateIndex, jaccard, normal_form, shingles
from preceptor.data.hygiene import (
    cap_per_user,
    carried_out,
    clean_prompts,
    look_at,
    plan_cleaning,
    split_by_user,
    split_of,
)
from preceptor.data.languages import identify_language
from preceptor.data.personal import find_personal
from preceptor.data.records import Prompt, text_of, write_records
from preceptor.errors import DataError

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def sentence(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choices(LETTERS, k=rng.randint(2, 9))) for _ in range(count))


def many(count: int = 600, users: int = 120, seed: int = 0) -> list[Prompt]:
    rng = random.Random(seed)
    return [Prompt(sentence(rng, 12), f"u{rng.randrange(users)}") for _ in range(count)]


# --- duplicates ------------------------------------------------------------------------------


def rule_of(first: str, second: str, **options: float) -> str | None:
    index = DuplicateIndex(**options)  # type: ignore[arg-type]
    index.add("first", first)
    found = index.find(second)
    assert found is None or found.of == "first"
    return None if found is None else found.rule


TEMPLATE = (
    "You are a helpful writer of advertisements for small shops. Write two lines about this: "
)


@pytest.mark.parametrize(
    ("first", "second", "rule"),
    [
        ("Hi  there", "hi\nTHERE ", "same"),
        ("Caf\u00e9", "Cafe\u0301", "same"),
        (TEMPLATE * 2 + "shoes", TEMPLATE * 2 + "a bakery in the old town", "prefix"),
        (TEMPLATE[:99] + "shoes", TEMPLATE[:99] + "a very different thing altogether", None),
        ("List five uses of a brick.", "Who wrote Hamlet?", None),
    ],
)
def test_what_repeats_what(first: str, second: str, rule: str | None):
    assert rule_of(first, second) == rule
    assert rule_of(second, first) == rule


def test_the_prefix_must_be_long_enough_and_enough_of_the_shorter():
    shared = sentence(random.Random(1), 40)[:150]
    tails = [sentence(random.Random(seed), 60)[:350] for seed in (2, 3)]
    first, second = (shared + tail for tail in tails)  # 150 of 500 are common
    assert rule_of(first, second) is None
    assert rule_of(first, second, prefix_fraction=0.3) == "prefix"
    assert rule_of(first, second, prefix_fraction=0.3, prefix_chars=160) is None


def test_near_duplicates_are_found_as_by_comparing_every_pair():
    """The index against the quadratic way, on texts of which some were edited a little or more."""
    rng = random.Random(5)
    texts: list[str] = []
    for _ in range(60):
        words = sentence(rng, 30).split()
        texts.append(" ".join(words))
        edited = list(words)
        for _ in range(rng.randint(1, 6)):
            edited[rng.randrange(30)] = sentence(rng, 1)
        texts.append(" ".join(edited))
    index, kept, near = DuplicateIndex(prefix_chars=10_000), list[str](), 0
    for number, text in enumerate(texts):
        own = shingles(normal_form(text))
        expected = any(jaccard(own, shingles(normal_form(other))) >= 0.8 for other in kept)
        assert (index.find(text) is not None) == expected
        near += expected
        if not expected:
            kept.append(text)
            index.add(str(number), text)
    assert 10 < near < 60, "the edits were to fall on both sides of the threshold"


def test_a_key_is_taken_once_and_the_threshold_is_one_that_is_held():
    index = DuplicateIndex()
    index.add("a", "x")
    with pytest.raises(ValueError, match="'a' is taken"):
        index.add("a", "y")
    with pytest.raises(ValueError, match=r"near is 0\.3"):
        DuplicateIndex(near=0.3)


def shared_beginnings(count: int) -> list[str]:
    """Texts alike in their first 150 of 500 characters: too little to be dropped."""
    shared = sentence(random.Random(1), 40)[:150]
    return [shared + sentence(random.Random(seed), 90)[:350] for seed in range(2, count + 2)]


@pytest.mark.parametrize("fraction", [0.5, 0.7, 0.9])
def test_prefixes_are_found_as_by_comparing_every_pair(fraction: float):
    """The index against the quadratic way, on texts cut anywhere from what begins alike."""
    rng = random.Random(3)
    texts = [text[: rng.randint(120, 500)] for text in shared_beginnings(30)]
    texts += [text[: rng.randint(90, 300)] + sentence(rng, 20) for text in texts]
    texts = [normal_form(text) for text in rng.sample(texts, len(texts))]
    index, kept, found = DuplicateIndex(prefix_fraction=fraction, near=1.0), list[str](), 0
    for number, text in enumerate(texts):
        common = [len(os.path.commonprefix([text, other])) for other in kept]
        expected = any(
            length >= 100 and length >= fraction * min(len(text), len(other))
            for length, other in zip(common, kept, strict=True)
        )
        duplicate = index.find(text)
        assert (duplicate is not None and duplicate.rule == "prefix") == expected
        found += expected
        if not expected:
            kept.append(text)
            index.add(str(number), text)
    assert 5 < found < len(texts) - 1


def test_texts_that_begin_alike_are_not_held_against_each_other_one_by_one(
    monkeypatch: pytest.MonkeyPatch,
):
    calls = Counter[str]()
    names = (
        (duplicates.os.path, "commonprefix"),
        (duplicates, "_minhash"),
        (duplicates, "jaccard"),
    )
    for module, name in names:
        made = getattr(module, name)

        def counted(*found: Any, made: Any = made, name: str = name) -> Any:
            calls[name] += 1
            return made(*found)

        monkeypatch.setattr(module, name, counted)
    index = DuplicateIndex()
    for number, text in enumerate(text[:320] for text in shared_beginnings(200)):
        assert index.find(text) is None
        index.add(str(number), text)
    assert calls == {"_minhash": 200}, "once a text, and no text compared with every other"


# --- cap and split ---------------------------------------------------------------------------


def test_no_user_has_more_than_the_cap_and_the_order_does_not_matter():
    prompts = many(count=900, users=3)
    kept, dropped = cap_per_user(prompts)
    assert Counter(p.user for p in kept) == {"u0": 200, "u1": 200, "u2": 200}
    assert len(kept) + len(dropped) == 900
    shuffled = random.Random(1).sample(prompts, len(prompts))
    again, _ = cap_per_user(shuffled)
    assert {text_of(p.prompt) for p in again} == {text_of(p.prompt) for p in kept}
    assert cap_per_user([Prompt("x")] * 300)[1] == [], "a prompt without a user is nobody's"


@pytest.mark.parametrize("users", [3, 12, 49, 50, 400])
def test_no_user_stands_on_two_sides_and_the_shares_are_kept(users: int):
    prompts = many(count=4000, users=users)
    splits = split_by_user(prompts)
    sides = [{p.user for p in prompts} for prompts in splits.values()]
    assert sum(map(len, sides)) == len(set().union(*sides)) == users
    assert sum(map(len, splits.values())) == 4000
    if users >= 12:
        assert all(sides)
        assert 0.7 < len(sides[0]) / users < 0.9


def test_a_user_s_split_is_the_same_whoever_else_is_there_and_in_every_process():
    splits = split_by_user(many(users=80))
    for name, prompts in splits.items():
        assert all(split_of(p.user) == name for p in prompts)
    assert [split_of(f"user-{i}") for i in (0, 3, 5, 7)] == PINNED
    with pytest.raises(ValueError, match="must sum to 1"):
        split_by_user(many(), {"train": 0.5, "test": 0.4})


PINNED = ["train", "test", "valid", "train"]


def test_another_seed_is_another_split():
    names = [f"user-{i}" for i in range(200)]
    assert [split_of(n, seed=1) for n in names] != [split_of(n, seed=2) for n in names]


# --- languages -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Write a short poem about the sea and the people who live beside it.", "en"),
        ("Schreibe ein kurzes Gedicht über das Meer und die Menschen an der Küste.", "de"),
        ("Écris un court poème sur la mer et les gens qui vivent sur la côte.", "fr"),
        ("海とそのそばに住む人々について短い詩を書いてください。", "ja"),
        ("1 + 1 = ?", "und"),
        ("", "und"),
    ],
)
def test_languages_are_told(text: str, code: str):
    found = identify_language(text)
    assert found.code == code
    assert 0 <= found.score <= 1


def test_languages_are_those_of_the_library_which_goes_byte_by_byte():
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    library = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    said = (
        "the of and der die und les est una para что это και είναι 这是 日本語の 한국어 भाषा اللغة "
        "שלום e\u0301te\u0301 WASSER Straße ii 12 € \x00 \ud800 \U0001f40e"
    )
    words = said.split()
    draw = random.Random(0)
    texts = ["", "a", "?", "5 + 5", "été", "ALL OF IT IS IN CAPITALS AND ENGLISH"]
    texts += [" ".join(draw.choices(words, k=draw.randint(1, 40))) for _ in range(200)]
    texts += ["".join(chr(draw.randint(32, 0x2FFF)) for _ in range(80)) for _ in range(20)]
    told = set()
    for text in texts:
        found, (code, score) = identify_language(text), library.classify(text)
        if found.score == 0:  # no letter, which is not asked about
            continue
        assert found.score == pytest.approx(score, abs=1e-5)
        assert found.code == (code if score >= 0.5 else "und") or abs(score - 0.5) < 1e-5
        told.add(code)
    assert len(told) > 20


def test_of_few_words_no_language_is_told_and_they_are_kept():
    assert identify_language("Write a poem.").code == "und"
    assert identify_language("Write a poem.").score > 0
    found = clean_prompts([Prompt("Write a poem."), Prompt("1 + 1 = ?")], languages=["de"])
    assert found.dropped == []
    with pytest.raises(DataError, match=r"no language english\. Codes known: .*\ben\b"):
        clean_prompts([Prompt("Write a poem.")], languages=["english"])


# --- all of it -------------------------------------------------------------------------------


def test_every_prompt_is_in_a_split_or_counted_under_a_reason():
    prompts = [
        *many(count=450, users=60),
        *[Prompt(f"{sentence(random.Random(i), 12)}", "eager") for i in range(1000, 1210)],
        *many(count=20),  # again
        Prompt("  ", "u1"),
        Prompt("x" * 5000, "u2"),
        Prompt("Schreibe ein kurzes Gedicht über das Meer und die Menschen an der Küste.", "u3"),
    ]
    found = clean_prompts(prompts, max_chars=4000)
    counts = found.counts()
    assert sum(counts.values()) == len(prompts)
    assert counts["dropped: cap"] == 10
    assert counts["dropped: same"] == 20
    assert counts["dropped: empty"] == counts["dropped: too_long"] == 1
    kept = [id(p) for split in found.splits.values() for p in split]
    assert len(kept) == len(set(kept))
    again = next(gone for gone in found.dropped if gone.reason == "same")
    assert again.of == text_of(again.prompt.prompt)
    english = clean_prompts(prompts[-1:], languages=["en"])
    assert [gone.reason for gone in english.dropped] == ["language"]
    german = clean_prompts(prompts[-1:])
    assert [p.meta["language"] for split in german.splits.values() for p in split] == ["de"]


def test_personal_data_goes_from_the_training_split_and_from_there_only():
    prompts = [Prompt(f"{p.prompt} I am me{i}@x.org.", p.user) for i, p in enumerate(many())]
    found = clean_prompts(prompts)
    assert not [p for p in found.splits["train"] if find_personal(text_of(p.prompt))]
    assert found.masked == {"EMAIL": len(found.splits["train"])}
    for name in ("valid", "test"):
        assert found.splits[name]
        assert all("@x.org" in text_of(p.prompt) for p in found.splits[name])


def test_what_is_known_beside_a_training_prompt_is_masked_too(tmp_path: Path):
    who = "bob@x.org"
    rows = [
        {"prompt": f"Write {sentence(random.Random(i), 9)} to {who}.", "response": f"Dear {who}"}
        | {"user": who, "email": who, "more": {"cc": [who, "ann@x.org"]}, GROUP: f"{who}/{i}"}
        for i in range(6)
    ]
    write_records(tmp_path / "p.jsonl", rows)
    prompts = load_records(tmp_path / "p.jsonl", Prompt).records
    train = clean_prompts(prompts, shares={"train": 1.0}).splits["train"]
    for prompt in train:
        assert not find_personal(json.dumps(vars(prompt)))
        assert "<EMAIL_1>" in text_of(prompt.prompt)
        assert prompt.meta["email"] == "<EMAIL_1>"
        assert prompt.meta["more"] == {"cc": ["<EMAIL_1>", "<EMAIL_2>"]}
        assert "response" not in prompt.meta
    assert len({p.user for p in train}) == 1
    assert len({p.meta[GROUP] for p in train}) == 6


def test_a_user_who_is_an_address_has_one_pseudonym_in_every_split_and_others_stay():
    prompts = [Prompt(p.prompt, f"{p.user}@x.org" if p.user < "u5" else p.user) for p in many()]
    splits = clean_prompts(prompts).splits
    users = {p.user for split in splits.values() for p in split}
    assert len(users) == len({p.user for p in prompts})
    assert not [user for user in users if "@" in user]
    assert {u for u in users if not u.startswith("user-")} == {
        p.user for p in prompts if "@" not in p.user
    }


def test_prompts_that_differ_in_personal_data_alone_are_the_same():
    text = "Please write a letter of complaint to {} about my order."
    found = clean_prompts(
        [Prompt(text.format("a@x.org"), "u1"), Prompt(text.format("b@y.org"), "u2")]
    )
    assert [gone.reason for gone in found.dropped] == ["same"]


def test_what_a_store_has_already_is_not_taken_again():
    index = DuplicateIndex()
    first, second = many(count=40, seed=1), many(count=40, seed=2)
    clean_prompts(first, index=index)
    later = clean_prompts([*second, *first], index=index)
    assert later.counts()["dropped: same"] == 40
    assert sum(map(len, later.splits.values())) == 40


SYSTEM = {"role": "system", "content": "You are the assistant of a shop. " * 10}


def turns(*texts: str) -> list[dict[str, str]]:
    roles = ("user", "assistant")
    return [{"role": roles[at % 2], "content": text} for at, text in enumerate(texts)]


def test_a_system_turn_that_many_share_makes_no_repetition():
    asked = ["Who wrote Hamlet?", "List five uses of a brick."]
    found = clean_prompts([Prompt([SYSTEM, *turns(text)]) for text in asked])
    assert found.dropped == []
    again = clean_prompts([Prompt(asked[0]), Prompt([SYSTEM, *turns(asked[0])])])
    assert [gone.reason for gone in again.dropped] == ["same"]


def test_later_turns_of_a_conversation_repeat_nothing_and_the_whole_of_it_again_does():
    first, reply = sentence(random.Random(1), 40), sentence(random.Random(2), 40)
    conversation = [
        Prompt(found, meta={GROUP: "c"})
        for found in (first, turns(first, reply, "Shorter."), turns(first, reply, "Shorter!"))
    ]
    assert clean_prompts(conversation).dropped == []
    assert [one.reason for one in look_at(conversation)] == [""] * 3
    twice = clean_prompts([*conversation, *conversation])
    assert [gone.reason for gone in twice.dropped] == ["same"] * 3
    other = [Prompt(prompt.prompt) for prompt in conversation]
    assert [gone.reason for gone in clean_prompts(other).dropped] == ["prefix"]


def test_an_index_may_have_keys_of_any_name():
    index = DuplicateIndex()
    index.add("3", "One that was asked before, under a number.")
    assert clean_prompts(many(count=5), index=index).dropped == []
    assert len(index) == 6


def test_the_command_writes_splits_and_what_went_with_its_reason(tmp_path: Path):
    prompts = [*many(count=300, users=80), *many(count=30, users=80)]
    write_records(tmp_path / "p.jsonl", prompts)
    for out in ("a", "b"):
        arguments = ["data", "clean", str(tmp_path / "p.jsonl"), "--out", str(tmp_path / out)]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
    assert "dropped: same" in result.stdout
    written = sorted((tmp_path / "a").iterdir())
    assert [path.name for path in written] == [
        "dropped.jsonl", "prompts-test.jsonl", "prompts-train.jsonl", "prompts-valid.jsonl",
    ]  # fmt: skip
    assert [p.read_bytes() for p in written] == [
        p.read_bytes() for p in sorted((tmp_path / "b").iterdir())
    ]
    lines = [len(path.read_text().splitlines()) for path in written]
    assert sum(lines) == 330 and lines[0] == 30
    assert json.loads(written[0].read_text().splitlines()[0])["reason"] == "same"


def clean(path: Path, *options: str) -> Result:
    arguments = ["data", "clean", str(path), "--out", str(path.with_name("out")), *options]
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["--language", "english"], "no language english"),
        (["--language", "ja"], "of 1 prompts none is left (dropped: language 1)"),
        (["--region", "Europe"], "no region Europe"),
        (["--format", "alpaca"], "alpaca needs the keys instruction, output"),
    ],
)
def test_what_would_leave_nothing_is_refused(tmp_path: Path, options: list[str], rule: str):
    path = tmp_path / "p.jsonl"
    write_records(path, [Prompt("Write a short poem about the sea and the people beside it.")])
    result = clean(path, *options)
    assert result.exit_code == 2
    assert rule in result.stderr
    assert not (tmp_path / "out").exists()


def test_broken_rows_are_refused_or_left_out_and_the_format_may_be_named(tmp_path: Path):
    path = tmp_path / "p.jsonl"
    row = {"instruction": "Ruf 030 901820 an.", "output": "A", "messages": turns("Q")}
    rows = [row, {"x": 1}]
    write_records(path, rows)
    assert "Name the format" in clean(path).stderr
    assert clean(path, "--format", "alpaca").exit_code == 2
    result = clean(path, "--format", "alpaca", "--on-error", "skip", "--region", "de")
    assert result.exit_code == 0, result.stderr
    assert "1 left out" in result.stderr
    written = [line for p in (tmp_path / "out").iterdir() for line in p.read_text().splitlines()]
    assert [json.loads(line)["prompt"][:4] for line in written] == ["Ruf "]


def test_a_file_is_cleaned_as_its_prompts_are_in_memory(tmp_path: Path):
    """The command reads twice and holds no prompt; what it writes is what `clean_prompts` gives."""
    prompts = [*many(count=300, users=70), *many(count=40, users=80)]
    prompts += [
        Prompt("Write to ann.smith@example.org about the tea, please.", f"u{i}") for i in (1, 2)
    ]
    write_records(tmp_path / "p.jsonl", prompts)
    result = clean(tmp_path / "p.jsonl", "--max-per-user", "3", "--seed", "5")
    assert result.exit_code == 0, result.output
    found = clean_prompts(prompts, max_per_user=3, seed=5)
    for name, split in found.splits.items():
        written = load_records(tmp_path / "out" / f"prompts-{name}.jsonl", Prompt).records
        assert written == split
    lines = (tmp_path / "out" / "dropped.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert [(row["reason"], row.get("of", "")) for row in rows] == [
        (gone.reason, gone.of) for gone in found.dropped
    ]
    assert {row["reason"] for row in rows} >= {"same", "cap"}
    assert all(row["of"] == row["prompt"] for row in rows if row["reason"] == "same")


def test_a_plan_holds_no_prompt():
    seen: list[weakref.ref[Prompt]] = []
    most = 0

    def prompts() -> Iterator[Prompt]:
        nonlocal most
        for number in range(300):
            prompt = Prompt(sentence(random.Random(number), 12), f"user {number % 7}")
            seen.append(weakref.ref(prompt))
            most = max(most, sum(ref() is not None for ref in seen))
            yield prompt

    plan = plan_cleaning(prompts())
    assert len(plan.fates) == 300
    assert most <= 3


def test_a_file_that_changes_while_it_is_read_is_told():
    prompts = many(count=60)
    plan = plan_cleaning(prompts)
    for other in (prompts[:-1], [*prompts, prompts[0]]):
        with pytest.raises(DataError, match="a file changed while it was read"):
            list(carried_out(other, plan))


words = st.lists(st.sampled_from(["sun", "moon", "a", "b", "sea"]), max_size=6).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(words, st.sampled_from(["", "u1", "u2", "u3"])), max_size=25))
def test_hygiene_twice_is_hygiene_once(found: list[tuple[str, str]]):
    prompts = [Prompt(text, user) for text, user in found]
    once = clean_prompts(prompts, max_per_user=3)
    kept = [p for split in once.splits.values() for p in split]
    assert len(kept) + len(once.dropped) == len(prompts)
    assert max(Counter(p.user for p in kept if p.user).values(), default=0) <= 3
    twice = clean_prompts(kept, max_per_user=3)
    assert twice.dropped == []


@pytest.mark.parametrize("name", ["prompts-train", "prompts-valid", "prompts-test", "dropped"])
def test_what_is_read_is_not_written_over(tmp_path: Path, name: str):
    path = tmp_path / "out" / f"{name}.jsonl"
    write_records(path, many(40, 10))
    before = path.read_bytes()
    write_records(tmp_path / "other.jsonl", many(40, 10, seed=1))
    arguments = [str(tmp_path / "other.jsonl"), str(path), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, ["data", "clean", *arguments])
    assert result.exit_code == 2
    assert f"{name}.jsonl: it is read, and would be written over" in result.stderr
    assert path.read_bytes() == before and list(path.parent.iterdir()) == [path]
