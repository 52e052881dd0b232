"""A shift of simulated labelers at an app: who they are, what they know, how they come in."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from preceptor.config import Recipe
from preceptor.data.records import Demonstration, Prompt, read_records, text_of
from preceptor.errors import StoreError
from preceptor.evaluation.judges import judge_of, labelers_of
from preceptor.labeling.client import Client
from preceptor.simulation.answers import BAD_HABITS, DOES, Habit, Knowledge, Worker
from preceptor.simulation.work import (
    Accounts,
    SignedIn,
    finish_held,
    read_guidelines,
    work_until_done,
)
from preceptor.store.accounts import invite_or_again
from preceptor.store.database import Store

# As people are: now and then they skip a task, save one half done, or want it back.
SKIPS, DRAFTS, SECOND_THOUGHTS = 0.02, 0.3, 0.02
Invite = Callable[[str], str]
"""Gives the token of an invitation for a login."""


def workers(recipe: Recipe, num: int, habits: Mapping[Habit, int]) -> list[Worker]:
    """So many labelers who work as people do; the last ones have the habits.

    Raises:
        StoreError: there are more habits than labelers.
    """
    bad = [habit for habit, count in habits.items() for _ in range(count)]
    if len(bad) > num:
        raise StoreError(f"{len(bad)} labelers with habits of {num} labelers: ask for more.")
    kinds: list[Habit] = [*(["honest"] * (num - len(bad))), *bad]  # type: ignore[list-item]
    return [
        Worker(labeler, habit, SKIPS, DRAFTS, SECOND_THOUGHTS)
        for labeler, habit in zip(labelers_of(recipe, num, "training"), kinds, strict=True)
    ]


def read_habits(told: Sequence[str]) -> dict[Habit, int]:
    """`random=2` and so on.

    Raises:
        StoreError: no such habit, or no number.
    """
    found: dict[Habit, int] = {}
    for text in told:
        name, _, count = text.partition("=")
        if name not in BAD_HABITS or not (count or "1").isdecimal():
            raise StoreError(
                f"--habit {text}: it looks like random=2. There are {', '.join(BAD_HABITS)}."
            )
        found[name] = int(count or "1")
    return found


def knowledge_of(recipe: Recipe, run: Path | None) -> Knowledge:
    """What a run's simulated labelers know: how to judge its prompts, and what to write to them."""
    prompts: dict[str, Prompt] = {}
    book: dict[str, str] = {}
    if run is not None:
        for path in sorted((run / "data").glob("prompts-*.jsonl")):
            prompts |= {text_of(p.prompt): p for p in read_records(path, Prompt)}
        for path in sorted((run / "data").glob("demonstrations-*.jsonl")):
            for written in read_records(path, Demonstration):
                book[text_of(written.prompt)] = written.response
    return Knowledge(judge_of(recipe), recipe.seed, prompts, book)


def invited_by_store(store: Store) -> Invite:
    """Invitations as `preceptor label invite` makes them."""

    def invite(login: str) -> str:
        with store.write() as session:
            return invite_or_again(
                session,
                store.site_key,
                login,
                now=datetime.now(UTC),
                group="simulated",
                screened=True,
            )[1]

    return invite


def invited_by_admin(client: Client) -> Invite:
    """Invitations through the interface, by an admin's key."""

    def invite(login: str) -> str:
        body = {"login": login, "group": "simulated", "screened": True}
        return str(client.post("/invites", body, repeat=False)["token"])

    return invite


@contextmanager
def signed_in(
    url: str, logins: Mapping[str, Worker], accounts: Accounts, invite: Invite
) -> Iterator[list[SignedIn]]:
    """Everybody in at the door, one after the other, for as long as the block lasts."""
    with ExitStack() as leaving:
        people = []
        for login, worker in logins.items():
            client = leaving.enter_context(closing(Client(url)))
            accounts.enter(client, login, invite)
            people.append(SignedIn(worker, client))
        yield people


def work_shift(people: Sequence[SignedIn], known: Knowledge) -> Counter[tuple[str, str]]:
    """All work in all projects until there is nothing left; counts by type of task and outcome."""

    def one(person: SignedIn) -> Counter[tuple[str, str]]:
        found: Counter[tuple[str, str]] = Counter()
        finish_held(person, known)
        projects = [p for p in person.client.projects() if p["task_type"] in DOES]
        read_guidelines(person, projects)
        for project in projects:
            for outcome, count in work_until_done(person, str(project["id"]), known).items():
                found[str(project["task_type"]), outcome] += count
        return found

    with ThreadPoolExecutor(max(1, len(people))) as pool:
        return sum(pool.map(one, people), Counter[tuple[str, str]]())
