"""People at their browsers, for tests of the app: they sign in, and post forms as pages do."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Any

from argon2 import PasswordHasher
from people import START, add_prompt
from starlette.testclient import TestClient

from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store
from preceptor.store.forms import PROMPT_TYPES
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_policy,
    add_tasks,
    create_project,
)
from preceptor.store.writing import add_writing

PASSWORD = "correct horse battery staple"
# As argon2 is meant to be slow, tests take its cheapest form.
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
PASSWORD_HASH = CHEAP.hash(PASSWORD)


@dataclass
class Clock:
    """The app's clock, which a test sets."""

    at: datetime = field(default=START)

    def __call__(self) -> datetime:
        return self.at

    def pass_(self, **time: float) -> None:
        self.at += timedelta(**time)


class Browser(TestClient):
    """A browser: it says which site a form came from, and follows no link by itself."""

    def __init__(self, app: Any) -> None:
        super().__init__(
            app,
            base_url="http://localhost",
            headers={"Sec-Fetch-Site": "same-origin"},
            follow_redirects=False,
        )

    def token(self) -> str:
        """The token for forms, as a page has it."""
        return self.get("/profile").text.split('name="csrf" content="')[1].split('"')[0]

    def open(self, path: str) -> "Page":
        return self.follow(self.get(path))

    def follow(self, answer: Any) -> "Page":
        """Where an answer leads in the end."""
        while answer.status_code == 303:
            answer = self.get(answer.headers["location"])
        return Page(self, answer)

    def submit(self, path: str, **fields: Any) -> Any:
        """Post a form as the page would."""
        return self.post(path, data={"csrf": self.token(), **fields})


def add_member(store: Store, login: str, **options: Any) -> uuid.UUID:
    """An account that has accepted its invitation."""
    with store.write() as session:
        _, token = invite(session, store.site_key, login, now=START, **options)
        return accept_invitation(
            session, token, password_hash=PASSWORD_HASH, now=START, screened=True
        )


def make_project(
    store: Store,
    task_type: str = "ranking",
    tasks: Mapping[str, Sequence[str]] | None = None,
    *,
    sensitive: bool = False,
    name: str = "a project named ppo_ptx",
    **options: Any,
) -> uuid.UUID:
    """An open project; `tasks` are prompts, or purposes, with the responses to each."""
    options.setdefault("calibration_fraction", 0.0)
    responses = () if task_type == "demonstration" else ("one", "two", "three")
    responses = responses[:2] if task_type in ("evaluation_ab", "toxicity") else responses
    with store.write() as session:
        project = create_project(session, name, task_type, ProjectOptions(**options), now=START)
        if task_type in PROMPT_TYPES:
            add_writing(session, project, num=3, descriptions=list(tasks or ()))
            return project
        policy = add_policy(session, "ppo_ptx", run="runs/secret", weights_sha256="f" * 64)
        add_tasks(
            session,
            project,
            {
                add_prompt(session, prompt): [
                    Candidate(f"{text}", policy, finished=True, sampling={"seed": i})
                    for i, text in enumerate(texts)
                ]
                for prompt, texts in (tasks or {f"{task_type} prompt": responses}).items()
            },
            sensitive=sensitive,
        )
    return project


Enter = Callable[..., Browser]
"""Signs somebody in, by the login page; the account is made if there is none."""


class Page(HTMLParser):
    """What a browser without scripts makes of an answer: texts, forms with their fields, alerts."""

    def __init__(self, browser: "Browser", answer: Any) -> None:
        super().__init__()
        self.browser = browser
        self.status = answer.status_code
        self.path = answer.url.path
        self.html = answer.text
        self.forms: list[dict[str, Any]] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.alerts: list[str] = []
        self._form: dict[str, Any] | None = None
        self._boxes: list[dict[str, str | None]] = []  # of a form that comes further down
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._area: str | None = None
        self._select: str | None = None
        self.feed(self.html)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a form, a field, a link."""
        found = dict(attrs)
        if tag not in ("input", "meta", "link", "br", "hr"):
            self._open.append((tag, found))
        name = found.get("name") or ""
        if tag == "a":
            self.links.append(found.get("href") or "")
        if tag == "form":
            self._form = {
                "action": found.get("action", ""),
                "fields": {},
                "choices": {},
                "buttons": [],
            }
            self.forms.append(self._form)
            for box in self._boxes:
                if box["form"] == found.get("id"):
                    self._tick_box(box)
        if found.get("form"):
            self._boxes.append(found)
        if self._form is None or not name:
            # Where an option has no value, its text is; no test fills in such a form by `press`.
            if tag == "option" and self._form and self._select and "value" in found:
                self._form["choices"].setdefault(self._select, []).append(found["value"])
                if "selected" in found or self._select not in self._form["fields"]:
                    self._form["fields"][self._select] = found["value"]
            return
        fields = self._form["fields"]
        if tag == "input" and found.get("type") in ("radio", "checkbox"):
            self._tick_box(found)
        elif tag == "input":
            fields[name] = found.get("value") or ""
        elif tag == "button":
            self._form["buttons"].append((name, found["value"]))
        elif tag == "textarea":
            self._area = name
            fields[name] = ""
        elif tag == "select":
            self._select = name

    def _tick_box(self, box: dict[str, str | None]) -> None:
        assert self._form is not None
        name, value = box["name"] or "", box.get("value") or "on"
        self._form["choices"].setdefault(name, []).append(value)
        if "checked" in box:
            self._form["fields"][name] = value

    def handle_endtag(self, tag: str) -> None:
        """Close what is open, as far as it was opened."""
        if tag == "textarea" and self._area is not None and self._form is not None:
            # A browser drops the first line end after the tag.
            self._form["fields"][self._area] = self._form["fields"][self._area].removeprefix("\n")
        if tag == "form":
            self._form = None
        if tag == "textarea":
            self._area = None
        if tag == "select":
            self._select = None
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Note a text."""
        if self._area is not None and self._form is not None:
            self._form["fields"][self._area] += data
            return
        self.words.append(data)
        if any(attrs.get("role") == "alert" for _, attrs in self._open) and data.strip():
            self.alerts.append(data.strip())

    def form(self, ending: str) -> dict[str, Any]:
        [found] = [form for form in self.forms if form["action"].endswith(ending)]
        return found

    @property
    def work(self) -> dict[str, Any]:
        """The form of a task's page."""
        [found] = [form for form in self.forms if "key" in form["fields"]]
        return found

    def press(self, action: str | None = None, ending: str | None = None, **answers: str) -> "Page":
        """Fill the form in, as a person can, press a button, and go where that leads."""
        form = self.work if ending is None else self.form(ending)
        fields = {**form["fields"]}
        for name, value in answers.items():
            assert name in fields or value in form["choices"].get(name, ()), name
            fields[name] = value
        if action is not None:
            assert ("action", action) in form["buttons"]
            fields["action"] = action
        return self.browser.follow(self.browser.post(form["action"], data=fields))
