"""How long a labeler waits for a page: 20 accounts at 1,000 ranking tasks, over real HTTP.

    python benchmarks/labeling.py

Makes a store and a server of its own on this machine, and browsers without scripts that do all the
tasks, page by page; two labelers press something at once, as 20 who also read may do. Prints the
median and the 99th percentile by kind of request.
"""

import os
import re
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import numpy as np
import uvicorn
from sqlalchemy import insert

from preceptor.labeling.app import create_app
from preceptor.store import tables
from preceptor.store.accounts import accept_invitation, invite
from preceptor.store.database import Store, create_store, open_store
from preceptor.store.logins import open_login
from preceptor.store.names import identify
from preceptor.store.projects import Candidate, ProjectOptions, add_tasks, create_project

NUM_TASKS = 1_000
NUM_LABELERS = 20
AT_ONCE = 2
K = 4
PARAGRAPH = "A response of a usual length, as a model writes it, to be read by a person. " * 5


def main() -> None:
    """Make the store and the server, then measure."""
    os.environ.setdefault("PRECEPTOR_SITE_KEY", "a key for the benchmark alone")
    with tempfile.TemporaryDirectory() as folder:
        measure(Path(folder))


def measure(folder: Path) -> None:
    create_store(str(folder / "labels.db"))
    store = open_store(str(folder / "labels.db"))
    tokens = fill(store)
    server = uvicorn.Server(
        uvicorn.Config(create_app(store), port=0, log_level="warning", access_log=False)
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    seconds: dict[str, list[float]] = {}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for times in pool.map(lambda token: work(f"http://127.0.0.1:{port}", token), tokens):
            for name, values in times.items():
                seconds.setdefault(name, []).extend(values)
    server.should_exit = True
    thread.join()
    store.close()
    for name, values in seconds.items():
        median, tail = np.percentile(values, [50, 99]) * 1000
        print(f"{name:<24} {len(values):>6,}  median {median:7.1f} ms  99 % {tail:7.1f} ms")


def fill(store: Store) -> list[str]:
    """Prompts, a project and accounts; returns the accounts' sign-ins."""
    now = datetime.now(UTC)
    user = identify("user", "benchmark")
    with store.write() as session:
        row = {"id": user, "pseudonym": "usr_benchmark", "split": "train", "policy": "opt_in"}
        session.execute(insert(tables.PromptUser), [row | {"first_seen": now}])
        session.execute(
            insert(tables.Consent),
            [
                {
                    "user_id": user,
                    "scope": "train",
                    "channel": "declared",
                    "event": "given",
                    "text_sha256": "",
                    "at": now,
                }
            ],
        )
        prompts = [
            {
                "id": identify("prompt", "benchmark", i),
                "user_id": user,
                "origin": "import",
                "content": f"Question {i}: {PARAGRAPH}",
                "use_case": "chat",
                "split": "train",
                "status": "active",
                "reason": "",
                "received_at": now,
                "meta": {},
            }
            for i in range(NUM_TASKS)
        ]
        session.execute(insert(tables.Prompt), prompts)
        project = create_project(session, "rankings", "ranking", ProjectOptions(), now=now)
        texts = [f"{letter}: {PARAGRAPH}" for letter in "abcdefghi"[:K]]
        add_tasks(session, project, {p["id"]: [Candidate(t) for t in texts] for p in prompts})
        tokens = []
        for i in range(NUM_LABELERS):
            _, invitation = invite(session, store.site_key, f"l{i}", now=now)
            account = accept_invitation(
                session, invitation, password_hash="", now=now, screened=True
            )
            tokens.append(open_login(session, account, now=now))
    return tokens


def work(site: str, token: str) -> dict[str, list[float]]:
    """One labeler does their share of the tasks; how long each request took."""
    seconds: dict[str, list[float]] = {}
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(
        base_url=site, cookies={"preceptor": token}, headers=headers, timeout=60
    ) as browser:

        def request(name: str, method: str, path: str, fields: dict[str, str] | None = None):
            began = time.perf_counter()
            answer = browser.request(method, path, data=fields)
            seconds.setdefault(name, []).append(time.perf_counter() - began)
            assert answer.status_code in (200, 303), answer.text
            return answer

        inbox = request("inbox", "GET", "/").text
        [claim] = re.findall(r'action="(/projects/[^"]*/claim)"', inbox)
        answer = request("claim", "POST", claim, hidden(inbox))
        for left in reversed(range(NUM_TASKS // NUM_LABELERS)):
            page = answer.headers["location"]
            while "/rank" not in page.split("?")[0]:
                shown = browser.get(page)  # where the task goes on
                page = shown.headers.get("location", page)
                if "/rate/" in page.split("?")[0]:
                    html = request("page of a rating", "GET", page).text
                    fields = hidden(html) | {"likert": "4", "action": "next"}
                    page = request("rate", "POST", page.split("?")[0], fields).headers["location"]
            html = request("page of a ranking", "GET", page).text
            ranks = {f"rank_{i + 1}": str(i // 2 + 1) for i in range(K)}
            fields = hidden(html) | ranks | {"action": "submit" if left else "stop"}
            answer = request("submit" + " and claim" * bool(left), "POST", page, fields)
    return seconds


def hidden(html: str) -> dict[str, str]:
    """The fields of a page that it carries itself."""
    found = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html)
    return {name: value.replace("&#34;", '"') for name, value in found}


if __name__ == "__main__":
    main()
