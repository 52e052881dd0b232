"""The server is killed in the middle of submits: what was answered is stored, and stored once."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest
from browsers import add_member, make_project
from sqlalchemy import select

from preceptor.store.database import Store
from preceptor.store.logins import open_login
from preceptor.store.tables import Submission, SubmissionText, Task

NUM_LABELERS, NUM_TASKS = 4, 40
DEATHS = (5, 20)  # after so many answered submits
LONGEST = 120.0


class Served:
    """`preceptor label serve` in a process of its own, which can be killed."""

    def __init__(self, store: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.site = f"http://127.0.0.1:{port}"
        self.command = [sys.executable, "-m", "preceptor", "label", "serve"]
        self.command += ["--port", str(port), "--store", str(store)]
        self.start()

    def start(self) -> None:
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command, stdout=null, stderr=null, env=os.environ)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(LONGEST)


def insist(browser: httpx2.Client, method: str, path: str, **form: str) -> httpx2.Response:
    """Send it until it is answered, as a person does who presses the button again."""
    deadline = time.monotonic() + LONGEST
    while True:
        try:
            return browser.request(method, path, data=form or None)
        except httpx2.TransportError:
            assert time.monotonic() < deadline, "the server does not come back"
            time.sleep(0.05)


def work(site: str, token: str, claim: str, answered: list[str], stop: threading.Event) -> None:
    """Write responses until no task is left."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=site, cookies={"preceptor": token}, headers=headers) as browser:
        csrf = re.findall(r'name="csrf" content="(\w+)"', insist(browser, "GET", "/").text)[0]
        page = insist(browser, "POST", claim, csrf=csrf).headers["location"]
        while "empty" not in page and not stop.is_set():
            page = page.split("?")[0] + "/write"
            html = insist(browser, "GET", page).text
            fields = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', html))
            fields |= {"response": f"an answer to {page}", "action": "submit"}
            answer = insist(browser, "POST", page, **fields)
            assert answer.status_code == 303, answer.text
            answered.append(fields["response"])
            page = answer.headers["location"]


@pytest.mark.slow
def test_what_was_answered_is_stored_once_though_the_server_dies(store: Store, tmp_path: Path):
    prompts: dict[str, list[str]] = {f"p{i}": [] for i in range(NUM_TASKS)}
    claim = f"/projects/{make_project(store, 'demonstration', prompts)}/claim"
    accounts = [add_member(store, f"l{i}") for i in range(NUM_LABELERS)]
    with store.write() as session:
        tokens = [open_login(session, account, now=datetime.now(UTC)) for account in accounts]
    answered: list[str] = []
    stop = threading.Event()
    served = Served(tmp_path / "labels.db")
    try:
        with ThreadPoolExecutor(NUM_LABELERS) as pool:
            done = [pool.submit(work, served.site, t, claim, answered, stop) for t in tokens]
            try:
                for number in DEATHS:
                    deadline = time.monotonic() + LONGEST
                    while len(answered) < number:
                        assert time.monotonic() < deadline
                        time.sleep(0.001)
                    served.kill()
                    served.start()
                for labeler in done:
                    labeler.result(LONGEST)
            finally:
                stop.set()
    finally:
        served.kill()
    with store.read() as session:
        texts = session.scalars(select(SubmissionText.text)).all()
        kinds = session.scalars(select(Submission.kind)).all()
        taken = session.scalars(select(Task.taken)).all()
    assert sorted(texts) == sorted(answered)
    assert len(set(texts)) == NUM_TASKS
    assert kinds == ["submitted"] * NUM_TASKS
    assert taken == [1] * NUM_TASKS
