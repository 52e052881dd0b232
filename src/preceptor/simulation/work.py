"""Simulated labelers at the app's front door: each one signs in and works as a person would.

Everything goes over HTTP, through the interface that any client has.
"""

import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from preceptor.data.records import write_text
from preceptor.errors import StoreError
from preceptor.labeling.client import Client, ClientError, Json, Task, new_password
from preceptor.simulation.answers import Answer, Knowledge, Shown, Worker, answer

AT_ONCE = 8
"""Labelers whose requests are on the way at one time."""


@dataclass(frozen=True)
class SignedIn:
    """A worker with their own client."""

    worker: Worker
    client: Client


class Accounts:
    """Logins of simulated labelers and their passwords, in a file that its owner alone can read.

    They are kept, so that the same labelers come back to the tasks they hold.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._passwords: dict[str, str] = {}
        if path.is_file():
            try:
                self._passwords = dict(json.loads(path.read_text(encoding="utf-8")))
            except ValueError:
                raise StoreError(
                    f"{path}: not a file of simulated labelers. Name another one."
                ) from None

    def enter(self, client: Client, login: str, invite: Callable[[str], str]) -> None:
        """Sign in, or accept an invitation first; `invite` makes one for a login: its token.

        Raises:
            StoreError: the login is somebody's whose password is not in the file.
        """
        if login in self._passwords:
            try:
                client.sign_in(login, self._passwords[login])
                return
            except ClientError as error:
                if error.status != 401:
                    raise  # else it was written down, and the invitation never accepted
        token = invite(login)
        # Written before it is used: an account whose password nobody knows is lost.
        self._passwords.setdefault(login, new_password())
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self.path, json.dumps(self._passwords, indent=1) + "\n")
        client.accept_invitation(token, self._passwords[login])


def write_private(path: Path, text: str) -> None:
    """A file for its owner's eyes, whole or not at all."""
    old = os.umask(0o077)
    try:
        write_text(path, text)
    finally:
        os.umask(old)


def finish(person: SignedIn, task: Task, known: Knowledge) -> str:
    """Do one task that is held, as the worker does; what became of it, in a word."""
    client = person.client
    shown = Shown(
        task.task_type,
        task.prompt,
        task.responses,
        flags=tuple(flag["name"] for flag in task.form["flags"]),
        asks_use_case=task.form["use_case"],
        asks_ratings=task.form["compare"]["ratings"],
    )
    done = answer(person.worker, shown, known)
    if done.skip_reason:
        client.skip(task.id, done.skip_reason)
        return "skipped"
    version = task.draft_version
    if done.saves_draft:
        version = client.save_draft(task.id, half_done(done), version)
    receipt = client.submit(
        task, done.form, draft_version=version, active_seconds=done.active_seconds
    )
    if done.undoes and receipt["outcome"] == "counted":
        again = client.undo(str(receipt["submission_id"]))
        receipt = client.submit(
            task, done.form, key=str(again["key"]), active_seconds=done.active_seconds
        )
    return str(receipt["outcome"])


def half_done(done: Answer) -> Json:
    """The form as it stands when half of it is filled in."""
    if "response" in done.form:
        text = str(done.form["response"])
        return {"response": text[: len(text) // 2]}
    ratings = list(done.form.get("ratings", {}).items())
    if not ratings:
        return {"comment": "not decided yet"}
    return {"ratings": dict(ratings[: len(ratings) // 2 + 1])}


def work_in_turns(
    people: Sequence[SignedIn],
    project: str,
    turns: Sequence[int],
    known: Knowledge,
    *,
    progress: Callable[[int], None] | None = None,
    to_the_end: bool = True,
) -> Counter[str]:
    """Claim one after the other in this order, and work side by side.

    The queue gives tasks out in the order of claims, so who does which is settled by the order
    alone, however the work in between falls. At the end everybody takes what is left.
    """
    outcomes: Counter[str] = Counter()
    busy: dict[int, Future[str]] = {}

    def settle(place: int) -> None:
        if future := busy.pop(place, None):
            outcomes[future.result()] += 1

    with ThreadPoolExecutor(AT_ONCE) as pool:
        for number, place in enumerate(turns):
            settle(place)  # one has to hand in before one can claim
            for other in [place for place, future in busy.items() if future.done()]:
                settle(other)
            task = people[place].client.claim(project)
            if task is not None:
                busy[place] = pool.submit(finish, people[place], task, known)
            if progress:
                progress(number + 1)
        for place in list(busy):
            settle(place)
    for person in people if to_the_end else ():
        outcomes.update(work_until_done(person, project, known))
    return outcomes


def work_at_once(people: Sequence[SignedIn], project: str, known: Knowledge) -> Counter[str]:
    """Everybody at their own pace, until there is nothing left for anybody."""
    with ThreadPoolExecutor(max(1, len(people))) as pool:
        counts = pool.map(lambda person: work_until_done(person, project, known), people)
        return sum(counts, Counter())


def work_until_done(
    person: SignedIn,
    project: str,
    known: Knowledge,
    stop: threading.Event | None = None,
) -> Counter[str]:
    """One labeler's shift in a project."""
    outcomes: Counter[str] = Counter()
    while not (stop and stop.is_set()) and (task := person.client.claim(project)) is not None:
        outcomes[finish(person, task, known)] += 1
    return outcomes


def finish_held(person: SignedIn, known: Knowledge) -> int:
    """Hand in what the labeler held when they were interrupted; how many tasks that was."""
    held = [task for task in person.client.my_tasks() if task["state"] == "leased"]
    for task in held:
        finish(person, person.client.task(str(task["assignment_id"])), known)
    return len(held)


def read_guidelines(person: SignedIn, projects: Sequence[Json]) -> None:
    """Confirm what must be read first."""
    for project in projects:
        if project["unread"]:
            guideline = person.client.guideline(str(project["id"]))
            person.client.acknowledge(str(guideline["id"]))
