"""Tasks in the words of users: several phrasings a kind, some of them held out for testing."""

import random

from preceptor.miniature import words as w
from preceptor.miniature.grammar import QUESTIONS, fact_sentence, listing
from preceptor.miniature.tasks import Task
from preceptor.miniature.world import World

PHRASINGS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "story": (
        ("tell me a story about {who}{where}.", "write a short story about {who}{where}.",
         "i would like a story about {who}{where}.", "what did {who} do{where} one day?"),
        ("can you write about a day of {who}{where}?", "what happened to {who}{where}?"),
    ),
    "fact": (
        ("{question}", "please tell me. {question}", "i want to know. {question}",
         "can you help me? {question}"),
        ("do you know this? {question}", "one more thing. {question}"),
    ),
    "list": (
        ("name {count} {category}{receiver}.", "give me {count} {category}{receiver}.",
         "i need {count} {category}{receiver}.", "list {count} {category}{receiver}."),
        ("can you think of {count} {category}{receiver}?",),
    ),
    "feeling": (
        ("hello, i am {name}.|hello, {name}. how are you?|i am {feeling} today.",
         "hello, i am {name}. i am {feeling} today.", "my name is {name}. i am {feeling}.",
         "good morning, i am {name}. i feel {feeling}."),
        ("it is {name}. today i feel {feeling}.",),
    ),
    "my_name": (
        ("{intro}what is my name?", "{intro}do you know my name?", "{intro}tell me my name.",
         "{intro}who am i?"),
        ("{intro}please say my name.",),
    ),
    "thanks": (
        ("{question}|{fact}|thank you.", "{question}|{fact}|that helps. thank you.",
         "{question}|{fact}|very good. thank you.", "{question}|{fact}|thank you. that is all."),
        ("{question}|{fact}|thank you for this.",),
    ),
    "past": (
        ("put this in the past: {source}", "say this about yesterday: {source}",
         "change this to the past: {source}", "{source} tell me this in the past."),
        ("make this past: {source}",),
    ),
    "rename": (
        ("write this about {new}: {source}", "say this about {new}, not {old}: {source}",
         "change {old} to {new}: {source}", "{source} tell me this about {new}."),
        ("make this about {new}: {source}",),
    ),
    "summary": (
        ("sum this up: {passage}", "what is this about? {passage}",
         "give me the main point: {passage}", "{passage} say this in short."),
        ("make this short: {passage}",),
    ),
    "mood": (
        ("is this happy or sad? {source}", "{source} is that happy or sad?",
         "happy or sad? {source}", "{source} is this sad or happy?"),
        ("tell me if this is happy or sad: {source}",),
    ),
    "category": (
        ("is {word} {first} or {second}?", "{first} or {second}? {word}.",
         "tell me, is {word} {first} or {second}?", "please say if {word} is {first} or {second}."),
        ("what is {word}, {first} or {second}?",),
    ),
    "passage_fact": (
        ("read this: {passage} {question}", "{passage} {question}", "{question} {passage}",
         "use this to answer: {passage} {question}"),
        ("this is a text: {passage} {question}",),
    ),
    "extract": (
        ("list the {what} in this: {passage}", "which {what} are in this? {passage}",
         "{passage} find the {what}.", "give me all {what} in this: {passage}"),
        ("pick out the {what}: {passage}",),
    ),
    "count": (
        ("count from {first} to {last}.", "please count from {first} to {last}.",
         "count up from {first} to {last}.", "can you count from {first} to {last}?"),
        ("say the numbers from {first} to {last}.",),
    ),
    "opposite": (
        ("what is the opposite of {word}?", "tell me the opposite of {word}.",
         "say the opposite of {word}.", "which word is the opposite of {word}?"),
        ("give me the opposite of {word}.",),
    ),
    "after": (
        ("what comes after {word}?", "what is next after {word}?",
         "tell me what comes after {word}.", "which one comes after {word}?"),
        ("say what follows {word}.",),
    ),
}  # fmt: skip
"""Phrasings that training prompts use, and those held out for testing. "|" parts the turns."""


def constraint_text(constraint: Task | None) -> str:
    """The wish in words, "" for none."""
    if constraint is None:
        return ""
    word, count = constraint.get("word"), constraint.get("count", 1)
    number = w.NUMBERS[count - 1]
    return {
        "use": f"use the word {word}.",
        "avoid": f"do not say {word}.",
        "start": f"start with the word {word}.",
        "question": "end with a question.",
        "sentences": f"answer in {number} {'sentence' if count == 1 else 'sentences'}.",
        "max_words": f"use at most {number} words.",
    }[str(constraint["kind"])]


def phrase(task: Task, rng: random.Random, world: World, *, heldout: bool = False) -> list[str]:
    """The task in words: the turns of a conversation, the user's first and last."""
    form = rng.choice(PHRASINGS[task["kind"]][heldout])
    values = {key: str(value) for key, value in task.items()}
    if "attribute" in task:
        subject, attribute = task["subject"], task["attribute"]
        values["question"] = rng.choice(QUESTIONS[attribute]).format(name=subject)
        value = world.fact(subject, attribute)
        values["fact"] = fact_sentence(subject, attribute, value) if value else ""
    if "passage" in task:
        values["passage"] = " ".join(task["passage"])
    kind = task["kind"]
    if kind == "story":
        values["where"] = f" in the {task['place']}" if task["place"] else ""
        values["who"] = listing(task["subjects"])
    elif kind == "list":
        values["count"] = w.NUMBERS[task["n"] - 1]
        values["receiver"] = f" for {task['receiver']}" if task["receiver"] else ""
    elif kind == "my_name":
        name = task["name"]
        intro = rng.choice((f"hello, i am {name}. ", f"hello, i am {name}.|hello, {name}.|"))
        values["intro"] = intro if name else rng.choice(("", "hello. "))
    elif kind == "category":
        values["first"], values["second"] = task["choices"]
    elif kind == "count":
        values["first"], values["last"] = task["items"][0], task["items"][-1]
    text = form.format(**values)
    return f"{text} {constraint_text(task['constraint'])}".strip().split("|")
