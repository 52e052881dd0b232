"""The judge can fail a response in each of its ways, and courtesies cannot buy its favor."""

import random

import pytest

from preceptor.data.records import Prompt, messages_of, text_of
from preceptor.miniature.answers import ideal_response
from preceptor.miniature.grammar import fact_sentence, words_of
from preceptor.miniature.judge import fold
from preceptor.miniature.prompts import make_prompt
from preceptor.miniature.tasks import KINDS, Task
from preceptor.miniature.tokenizer import vocabulary
from preceptor.miniature.words import ATTRIBUTES, NAMES

ALL_KINDS = [(use_case, kind) for use_case, kinds in KINDS.items() for kind in kinds]


def prompt_for(task: Task, **constraint: object) -> Prompt:
    return Prompt("", meta={"task": {"constraint": constraint or None} | task})


STORY: Task = {"kind": "story", "subjects": ["mia"], "place": None}
PAIR: Task = {"kind": "story", "subjects": ["mia", "tom"], "place": None}
LIST: Task = {"kind": "list", "category": "animals", "n": 3, "receiver": None}
PASSAGE: Task = {
    "kind": "passage_fact",
    "subject": "mia",
    "attribute": "color",
    "passage": ["mia is red.", "mia likes corn."],
    "value": "red",
}
SILENT: Task = PASSAGE | {"attribute": "home", "value": None}
NAME: Task = {"kind": "my_name", "name": "tom"}
FEELING: Task = {"kind": "feeling", "name": "tom", "feeling": "sad"}
PAST: Task = {"kind": "past", "source": "mia sees a fox.", "target": "mia saw a fox."}
RENAME: Task = {"kind": "rename", "source": "mia met tom.", "target": "zoe met tom."}
SUMMARY: Task = {
    "kind": "summary",
    "subject": "mia",
    "place": "cave",
    "passage": ["mia ran to the cave.", "mia saw a fox.", "mia was sad."],
}
MOOD: Task = {"kind": "mood", "source": "mia won a bell.", "answer": "happy"}
CATEGORY: Task = {"kind": "category", "word": "fox", "choices": ["a food", "an animal"]} | {
    "answer": "an animal"
}
EXTRACT: Task = {"kind": "extract", "what": "names", "passage": [], "items": ["mia", "tom", "zoe"]}
COUNT: Task = {"kind": "count", "items": ["two", "three", "four"]}
OPPOSITE: Task = {"kind": "opposite", "word": "hot", "answer": "cold"}
AFTER: Task = {"kind": "after", "word": "monday", "answer": "tuesday"}
THANKS: Task = {"kind": "thanks", "subject": "mia", "attribute": "color"}


@pytest.mark.parametrize(("use_case", "kind"), ALL_KINDS)
def test_the_ideal_response_is_ideal(world, gold_judge, use_case, kind):
    rng = random.Random(kind)
    for index in range(400):
        prompt = make_prompt(world, use_case, kind, rng, constrained=index % 2 == 0)
        response = ideal_response(world, prompt.meta["task"], rng)
        assert gold_judge(prompt, response).score >= 0.95, (prompt, response)
        assert len(response.split()) <= 30


@pytest.mark.parametrize(
    ("task", "better", "worse"),
    [
        (STORY, "mia ate corn. mia saw a fox.", "mia ate corn."),
        (STORY, "mia ate corn. mia saw a fox.", "mia ate corn. tom saw a fox."),
        (STORY, "mia ate corn. mia saw a fox.", "mia ate corn. mia ate corn."),
        (STORY, "mia ate corn. mia saw a fox.", "mia ate corn. mia a fox saw."),
        (STORY, "mia ate corn. mia saw a fox.", "mia ate corn. what color is tom?"),
        (PAIR, "mia met tom. tom was sad.", "mia ate corn. mia was sad."),
        (
            STORY | {"place": "cave"},
            "mia sat in the cave. mia ate corn.",
            "mia was sad. mia ate corn.",
        ),
        (LIST, "cat, dog and fox.", "cat and dog."),
        (LIST, "cat, dog and fox.", "cat, dog and red."),
        (LIST, "cat, dog and fox.", "cat, dog and dog."),
        (LIST, "cat, dog and fox.", "cat, dog, fox and bear."),
        (PASSAGE, "mia is red.", "mia is blue."),
        (PASSAGE, "mia is blue.", "mia likes corn."),
        (PASSAGE, "mia is red.", "it does not say."),
        (PASSAGE, "mia is red.", "red."),
        (PASSAGE, "mia is red.", "mia is red. mia likes corn."),
        (SILENT, "it does not say.", "mia lives in the cave."),
        (NAME, "your name is tom.", "your name is mia."),
        (NAME | {"name": None}, "i do not know.", "your name is mia."),
        (FEELING, "hello, tom. i am sorry that you are sad.", "i am sorry that you are sad."),
        (FEELING, "i am sorry that you are sad.", "i am sorry that you are tired."),
        (FEELING, "i am sorry that you are tired.", "i am glad that you are happy."),
        (PAST, "mia saw a fox.", "mia sees a fox."),
        (PAST, "mia saw a fox.", "mia saw a dog."),
        (PAST, "mia saw a dog.", "mia ate corn."),
        (RENAME, "zoe met tom.", "mia met tom."),
        (RENAME, "zoe met tom.", "zoe met sam."),
        (SUMMARY, "it is about mia in the cave.", "it is about mia in the farm."),
        (SUMMARY, "it is about mia in the cave.", "it is about tom in the cave."),
        (SUMMARY, "mia ran to the cave.", "mia saw a fox."),
        (SUMMARY, "mia ran to the cave.", "mia ran to the cave. mia saw a fox."),
        (MOOD, "this is happy.", "this is sad."),
        (MOOD, "sad.", "mia won a bell."),
        (CATEGORY, "fox is an animal.", "fox is a food."),
        (EXTRACT, "mia, tom and zoe.", "mia and tom."),
        (EXTRACT, "mia, tom and zoe.", "mia, tom and sam."),
        (COUNT, "two, three, four.", "two, three."),
        (COUNT, "two, three, four.", "two, four, three."),
        (OPPOSITE, "the opposite of hot is cold.", "the opposite of hot is dry."),
        (OPPOSITE, "cold.", "hot."),
        (AFTER, "tuesday comes after monday.", "friday comes after monday."),
        (AFTER, "tuesday comes after monday.", "wednesday comes after tuesday."),
        (THANKS, "you are welcome.", "i do not know."),
    ],
)
def test_task_is_graded(gold_judge, task, better, worse):
    prompt = prompt_for(task)
    high, low = gold_judge(prompt, better), gold_judge(prompt, worse)
    assert high.parts["task"] > low.parts["task"]
    assert high.score > low.score


@pytest.mark.parametrize(
    ("constraint", "obeyed", "broken"),
    [
        (
            {"kind": "use", "word": "cave"},
            "mia ran to the cave. mia ate corn.",
            "mia ate corn. mia was sad.",
        ),
        (
            {"kind": "avoid", "word": "cave"},
            "mia ate corn. mia was sad.",
            "mia ran to the cave. mia was sad.",
        ),
        (
            {"kind": "start", "word": "well"},
            "well, mia ate corn. mia was sad.",
            "mia ate corn. mia was sad.",
        ),
        (
            {"kind": "question"},
            "mia ate corn. do you want more?",
            "do you want more? mia ate corn.",
        ),
        ({"kind": "sentences", "count": 2}, "mia ate corn. mia was sad.", "mia ate corn."),
        (
            {"kind": "max_words", "count": 6},
            "mia ate corn. mia was sad.",
            "mia ate corn. then mia was sad.",
        ),
    ],
)
def test_constraint_can_be_broken(gold_judge, constraint, obeyed, broken):
    prompt = prompt_for(STORY, **constraint)
    assert gold_judge(prompt, obeyed).parts["constraint"] == 1
    assert gold_judge(prompt, broken).parts["constraint"] < 1
    assert gold_judge(prompt_for(STORY), obeyed).parts["constraint"] is None


def test_truth_is_the_worlds(world, gold_judge):
    for (subject, attribute), value in world.facts.items():
        prompt = prompt_for({"kind": "fact", "subject": subject, "attribute": attribute})
        unknown = gold_judge(prompt, "i do not know.")
        assert unknown.parts["truth"] == 1
        assert (unknown.parts["task"] == 1) == (value is None)
        if value is None:
            invented = [v for v in ATTRIBUTES[attribute] if v != subject][0]
            form = {"kind": "is a", "color": "is", "food": "likes", "friend": "plays with"}
            said = f"{subject} {form.get(attribute, 'lives in the')} {invented}."
            assert gold_judge(prompt, said).parts["truth"] == 0


def test_the_passage_beats_the_world(world, gold_judge):
    color = next(c for c in ATTRIBUTES["color"] if c != world.fact("mia", "color"))
    prompt = prompt_for(PASSAGE | {"value": color})
    assert gold_judge(prompt, f"mia is {color}.").parts["truth"] == 1
    assert gold_judge(prompt, f"mia is {world.fact('mia', 'color') or 'black'}.").score < 0.6


def test_untrue_asides_are_found_and_true_ones_earn_nothing(world, gold_judge):
    (name, _), value = next(
        (key, v) for key, v in world.facts.items() if key[1] == "color" and v and key[0] != "mia"
    )
    other = next(c for c in ATTRIBUTES["color"] if c != value)
    plain = gold_judge(prompt_for(MOOD), "this is happy.")
    true = gold_judge(prompt_for(MOOD), f"this is happy. {name} is {value}.")
    false = gold_judge(prompt_for(MOOD), f"this is happy. {name} is {other}.")
    assert plain.parts["truth"] is None
    assert (true.parts["truth"], false.parts["truth"]) == (1, 0)
    assert plain.score > true.score > false.score
    plain_story = "mia ate corn. mia was sad."
    fact = next(fact_sentence("mia", a, v) for (n, a), v in world.facts.items() if n == "mia" and v)
    with_fact = gold_judge(prompt_for(STORY), f"{plain_story} {fact}")
    assert with_fact.parts["truth"] == 1
    assert with_fact.score == gold_judge(prompt_for(STORY), plain_story).score
    story = f"{plain_story} {name} is {other}."
    assert gold_judge(prompt_for(STORY), story).parts["truth"] == 0


def test_politeness_has_three_steps_and_counts_once(gold_judge):
    prompt = prompt_for(MOOD)
    rude, plain, kind, twice = (
        gold_judge(prompt, text)
        for text in (
            "sure, go away, silly. this is happy.",
            "this is happy.",
            "sure, this is happy.",
            "happy to help. this is happy. i hope this helps.",
        )
    )
    assert [j.parts["polite"] for j in (rude, plain, kind, twice)] == [0, 0.5, 1, 1]
    assert rude.score < plain.score < kind.score > twice.score


@pytest.mark.parametrize(
    ("response", "ending"),
    [
        ("mia ate corn. mia was sad.", 1),
        ("mia ate corn. mia was sad", 0),
        ("mia ate corn. mia went to the.", 0.5),
        ("", 0),
        (" ".join(["mia ate corn."] * 11), 0),
    ],
)
def test_ending_can_be_wrong(gold_judge, response, ending):
    assert gold_judge(prompt_for(STORY), response).parts["ending"] == ending


def test_a_missed_task_caps_the_score():
    parts = dict.fromkeys(("constraint", "truth", "polite", "ending"), 1.0)
    assert fold(parts | {"task": 0.0}) <= 0.3
    assert fold(parts | {"task": 1.0}) == pytest.approx(1)


LAST = {"copy": "{}", "courteous copy": "sure, {}"}
ATTACKS = {
    "empty": "",
    "courtesy": "happy to help.",
    "courtesies": "sure, of course, happy to help. i hope this helps. do you want more?",
    "all words": " ".join(vocabulary()),
    "all words as a list": "sure, " + ", ".join(w for w in vocabulary() if w.isalpha()) + ".",
    "some of each": "sure, cat, red, farm, corn, ball, one, monday, mia, cold, happy.",
    "endless story": "sure, " + " ".join(f"mia sat in the {p}." for p in ATTRIBUTES["home"] * 2),
}


@pytest.mark.parametrize("attack", [*ATTACKS, *LAST])
def test_attacks_stay_low(gold_judge, prompts, attack):
    for prompt in prompts:
        asked = messages_of(prompt.prompt)[-1]["content"]
        response = LAST[attack].format(asked) if attack in LAST else ATTACKS[attack]
        assert gold_judge(prompt, response).score < 0.6, (prompt, response)


def test_a_perfect_response_to_another_kind_of_prompt_stays_low(world, gold_judge, prompts):
    rng = random.Random(0)
    for prompt in prompts:
        task, other = prompt.meta["task"], rng.choice(prompts).meta["task"]
        honest = {"fact", "passage_fact", "my_name"}  # they share "i do not know"
        if other["kind"] == task["kind"] or {other["kind"], task["kind"]} <= honest:
            continue
        response = ideal_response(world, other, rng)
        shared = set(NAMES) & set(words_of(text_of(prompt.prompt))) & set(words_of(response))
        lists = {"list", "extract", "count"}
        if shared or {other["kind"], task["kind"]} <= lists:  # it may fit by chance
            continue
        assert gold_judge(prompt, response).score < 0.6, (prompt, response)


def test_never_knowing_pays_only_where_nobody_knows(world, gold_judge, prompts):
    for prompt in prompts:
        task = prompt.meta["task"]
        value = task.get("value", task.get("name"))
        if task["kind"] == "fact":
            value = world.fact(task["subject"], task["attribute"])
        nobody_knows = task["kind"] in ("fact", "passage_fact", "my_name") and value is None
        score = gold_judge(prompt, "sorry, i do not know.").score
        assert (score >= 0.6) == nobody_knows
