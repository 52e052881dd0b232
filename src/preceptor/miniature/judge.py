"""The gold judge: because we made the world, we know what a good response is.

Five parts, each in 0..1 and graded so that two imperfect responses seldom tie: `task` done,
`constraint` obeyed, `truth` of all claims, `polite`, proper `ending`. The score is their weighted
mean, scaled down when the task was missed: courtesy alone buys little.
"""

from preceptor.data.dataset import Judge, Judgement
from preceptor.data.records import Prompt
from preceptor.miniature import grammar as g
from preceptor.miniature.graders import GRADERS, Grade
from preceptor.miniature.tasks import Task
from preceptor.miniature.world import World

WEIGHTS = {"task": 0.35, "constraint": 0.2, "truth": 0.2, "polite": 0.15, "ending": 0.1}
MAX_WORDS = 30
PADDING_FACTOR = 0.6  # the task's grade for each sentence that nobody asked for


def judge(world: World) -> Judge:
    """The gold judge of this world; it reads `prompt.meta["task"]`, never the prompt's words."""

    def gold_judge(prompt: Prompt, response: str) -> Judgement:
        return judge_response(world, prompt.meta["task"], response)

    return gold_judge


def judge_response(world: World, task: Task, response: str) -> Judgement:
    """All five parts and their fold."""
    words = [word for word in g.words_of(response) if word not in (".", ",", "?", ":", "\n")]
    sentences = g.split_sentences(response)
    content = [s for s in sentences if not s.is_a("courtesy", "offer", "rude") and s.words]
    grade = GRADERS[task["kind"]](world, task, content)
    for sentence in content:
        claim = g.claim_of(sentence.clause)
        if claim and sentence not in grade.used:
            grade.truths.append(float(world.fact(claim[0], claim[1]) == claim[2]))
    parts: dict[str, float | None] = {
        "task": grade.task * PADDING_FACTOR ** _padding(task, sentences, content, grade),
        "constraint": _constraint(task["constraint"], words, sentences),
        "truth": sum(grade.truths) / len(grade.truths) if grade.truths else None,
        "polite": _polite(response, words, sentences),
        "ending": _ending(words, sentences),
    }
    # A true claim that nobody asked for is no merit, or every story would carry some fact.
    neutral = not grade.asked and parts["truth"] == 1.0
    return Judgement(fold(parts | {"truth": None} if neutral else parts), parts)


def fold(parts: dict[str, float | None]) -> float:
    """Weighted mean of the parts that are there, times a gate that opens with the task.

    The gate is 0.3 for a task not done at all and 1 from half done on.
    """
    present = {name: value for name, value in parts.items() if value is not None}
    total = sum(WEIGHTS[name] * value for name, value in present.items())
    mean = total / sum(WEIGHTS[name] for name in present)
    return mean * min(1.0, 0.3 + 1.4 * present["task"])


def _padding(
    task: Task, sentences: list[g.Sentence], content: list[g.Sentence], grade: Grade
) -> float:
    """Sentences too many: irrelevant ones, repeated ones, a second courtesy, an unasked offer."""
    extra = float(len(content) - len(grade.used))
    extra += max(0, sum(s.is_a("courtesy") for s in sentences) - 1)
    asked = (task["constraint"] or {}).get("kind") == "question"
    return extra + max(0, sum(s.is_a("offer") for s in sentences) - asked)


def _constraint(
    constraint: Task | None, words: list[str], sentences: list[g.Sentence]
) -> float | None:
    if constraint is None:
        return None
    kind = constraint["kind"]
    if kind == "use":
        return float(constraint["word"] in words)
    if kind == "avoid":
        return float(bool(words) and constraint["word"] not in words)
    if kind == "start":
        return float(words[:1] == [constraint["word"]])
    if kind == "question":
        return float(bool(sentences) and sentences[-1].mark == "?")
    if kind == "sentences":
        miss = abs(len(sentences) - constraint["count"])
        return 1.0 if miss == 0 else 0.3 if miss == 1 and sentences else 0.0
    excess = len(words) - constraint["count"]
    return 0.0 if not words else 1.0 if excess <= 0 else max(0.0, 0.5 - 0.1 * excess)


def _polite(response: str, words: list[str], sentences: list[g.Sentence]) -> float:
    """0 if rude, 1 with a courtesy, 0.5 for the plain answer."""
    if g.RUDE_WORDS & set(words) or any(s.is_a("rude") for s in sentences):
        return 0.0
    opened = g.spaced(g.words_of(response)).startswith((*g.OPENERS, g.APOLOGY))
    kinds = ("hello", "welcome", "glad", "sorry")
    closed = any(s.is_a("courtesy", *kinds) for s in sentences)
    return 1.0 if opened or closed else 0.5


def _ending(words: list[str], sentences: list[g.Sentence]) -> float:
    """1 for a whole last sentence with its mark; 0.5 for a mark after half a sentence."""
    if not sentences or not sentences[-1].mark or len(words) > MAX_WORDS:
        return 0.0
    return 1.0 if sentences[-1].clause is not None else 0.5
