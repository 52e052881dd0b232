"""How far a response does each kind of task; judge.py weighs it with the rest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from preceptor.miniature import grammar as g
from preceptor.miniature import words as w
from preceptor.miniature.tasks import Task
from preceptor.miniature.world import World


@dataclass
class Grade:
    """What a grader found: how far the task is done, which claims are true, what served it."""

    task: float = 0.0
    truths: list[float] = field(default_factory=list)
    used: list[g.Sentence] = field(default_factory=list)
    asked: bool = False  # whether the task asks for a claim


def _story(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """Sentences about the subjects, none twice, two or three of them, all subjects there."""
    subjects = set(task["subjects"])
    fitting: list[g.Sentence] = []
    for sentence in content:
        known = sentence.is_a("past", "both", "fact") and sentence.clause is not None
        if known and sentence.words[0] in subjects and sentence not in fitting:
            fitting.append(sentence)
    told = [s for s in fitting if not s.is_a("fact")]
    if not told:
        return Grade(used=[])
    mentioned = len(subjects & {word for s in fitting for word in s.words}) / len(subjects)
    wanted = (task["constraint"] or {}).get("count", 2)
    if task["place"]:
        mentioned -= 0.5 * all(task["place"] not in s.words for s in told)
    length = min(1.0, len(told) / wanted) * min(1.0, max(3, wanted) / len(content))
    # Every sentence of a story is weighed here, so none of them is padding as well.
    share = len(fitting) / len(content)
    grade = Grade(share * (0.4 + 0.6 * mentioned) * length, [], list(content))
    for sentence in content:
        claim = g.claim_of(sentence.clause)
        if claim:
            grade.truths.append(float(world.fact(claim[0], claim[1]) == claim[2]))
    return grade


def _fact(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    return _answer(task, content, world.fact(task["subject"], task["attribute"]))


def _passage_fact(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """As `_fact`, but the passage decides, whatever the world says."""
    return _answer(task, content, task["value"])


def _answer(task: Task, content: Sequence[g.Sentence], value: str | None) -> Grade:
    """Only the first answer counts; one that was guessed is half the task, none is little."""
    for sentence in content:
        if sentence.is_a("unknown"):
            return Grade(1.0 if value is None else 0.2, [1.0], [sentence], asked=True)
        claim = g.claim_of(sentence.clause)
        if claim and claim[:2] == (task["subject"], task["attribute"]):
            right = claim[2] == value
            return Grade(1.0 if right else 0.5, [float(right)], [sentence], asked=True)
        if sentence.is_a("list") and len(sentence.words) == 1:
            item = sentence.words[0]
            if item in w.ATTRIBUTES[task["attribute"]]:  # curt, but an answer
                right = item == value
                return Grade(0.8 if right else 0.4, [float(right)], [sentence], asked=True)
    return Grade()


def _list(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    return _items(content, w.CATEGORIES[task["category"]], task["n"])


def _extract(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    return _items(content, task["items"], len(task["items"]))


def _items(content: Sequence[g.Sentence], members: Sequence[str], wanted: int) -> Grade:
    """Right items, each once, of the first list; wrong, repeated and surplus ones cost as much."""
    for sentence in content:
        if sentence.is_a("list") and sentence.clause is not None:
            items = sentence.clause.words
            right = len({item for item in items if item in members})
            surplus = len(items) - min(right, wanted)
            grade = max(0.0, (min(right, wanted) - 0.5 * surplus) / wanted)
            return Grade(grade, [], [sentence])
    return Grade()


def _count(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """How far the counting agrees, place by place."""
    for sentence in content:
        if sentence.is_a("list") and sentence.clause is not None:
            items, wanted = sentence.clause.words, task["items"]
            right = sum(a == b for a, b in zip(items, wanted, strict=False))
            return Grade(right / max(len(items), len(wanted)), [], [sentence])
    return Grade()


def _feeling(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """A reply that fits the feeling (0.6, less if it names another one), and the user's name."""
    suits = "glad" if task["feeling"] in w.GOOD_FEELINGS else "sorry"
    reply = next((s for s in content if s.is_a("glad", "sorry")), None)
    hello = next((s for s in content if s.is_a("hello") and task["name"] in s.words), None)
    grade = 0.4 if hello else 0.0
    if reply and reply.is_a(suits):
        grade += 0.6 if task["feeling"] in reply.words else 0.3
    return Grade(grade, [], [s for s in (hello, reply) if s])


def _my_name(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    for sentence in content:
        if sentence.is_a("unknown"):
            return Grade(1.0 if task["name"] is None else 0.2, [1.0], [sentence], asked=True)
        if sentence.is_a("your_name"):
            right = sentence.clause is not None and sentence.clause.get("name") == task["name"]
            return Grade(1.0 if right else 0.4, [float(right)], [sentence], asked=True)
    return Grade()


def _thanks(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    reply = next((s for s in content if s.is_a("welcome")), None)
    return Grade(1.0, [], [reply]) if reply else Grade()


def _rewrite(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """The words to change must be changed; then as much as of the rest is kept."""
    target, source = g.words_of(task["target"])[:-1], g.words_of(task["source"])[:-1]
    best, used = 0.0, content[:1]
    for sentence in content:
        if len(sentence.words) == len(target):
            triples = list(zip(sentence.words, source, target, strict=True))
            changed = [word == after for word, before, after in triples if before != after]
            kept = [word == after for word, before, after in triples if before == after]
            grade = sum(changed) / len(changed) * (sum(kept) / len(kept)) ** 2
            if grade > best:
                best, used = grade, [sentence]
    return Grade(best, [], list(used))


def _summary(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """One sentence with whom it is about and where; what it says must be in the passage."""
    passage = {word for sentence in task["passage"] for word in g.words_of(sentence)}
    said = next((s for s in content if s.is_a("about", "past")), None)
    if said is None or said.clause is None:
        return Grade()
    grade = 0.4 * (task["subject"] in said.words) + 0.6 * (task["place"] in said.words)
    slots = said.clause.words
    return Grade(grade, [sum(word in passage for word in slots) / len(slots)], [said], asked=True)


def _classify(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """The right label; the wrong one is a fifth of the task, for having chosen."""
    for sentence in content:
        words = " ".join(sentence.words)
        if task["kind"] == "category":
            labels = {c for c in task["choices"] if words in (c, f"{task['word']} is {c}")}
        else:
            labels = {c for c in ("happy", "sad") if words in (c, f"this is {c}", f"that is {c}")}
        if labels:
            return Grade(1.0 if labels == {task["answer"]} else 0.2, [], [sentence])
    return Grade()


def _relation(world: World, task: Task, content: Sequence[g.Sentence]) -> Grade:
    """An opposite, or what comes after: as a sentence, or as the bare word."""
    for sentence in content:
        if sentence.clause is None or not sentence.is_a("opposite", "after", "list"):
            continue
        if sentence.is_a("list"):
            answer, asked = sentence.words, task["word"]
        else:
            answer = (sentence.clause.get("answer") or sentence.clause.get("next") or "",)
            asked = sentence.clause.get("word") or sentence.clause.get("step") or ""
        right = answer == (task["answer"],) and asked == task["word"]
        return Grade(1.0 if right else 0.2 if asked == task["word"] else 0.0, [], [sentence])
    return Grade()


GRADERS: dict[str, Callable[[World, Task, Sequence[g.Sentence]], Grade]] = {
    "story": _story,
    "fact": _fact,
    "list": _list,
    "feeling": _feeling,
    "my_name": _my_name,
    "thanks": _thanks,
    "past": _rewrite,
    "rename": _rewrite,
    "summary": _summary,
    "mood": _classify,
    "category": _classify,
    "passage_fact": _passage_fact,
    "extract": _extract,
    "count": _count,
    "opposite": _relation,
    "after": _relation,
}
