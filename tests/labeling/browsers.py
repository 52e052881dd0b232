"""People at their browsers, for tests of the app: they sign in, and post forms as pages do."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from people import START, add_prompt
from starlette.testclient import TestClient

from preceptor.labeling.security import HASHER
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store
from preceptor.store.projects import (
    Candidate,
    ProjectOptions,
    add_policy,
    add_tasks,
    create_project,
)

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = HASHER.hash(PASSWORD)  # once: it is slow on purpose


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
    """An open project; `tasks` are prompts with the responses to each."""
    options.setdefault("calibration_fraction", 0.0)
    responses = () if task_type == "demonstration" else ("one", "two", "three")
    with store.write() as session:
        project = create_project(session, name, task_type, ProjectOptions(**options), now=START)
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
