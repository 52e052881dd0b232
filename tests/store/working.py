"""Labelers in a process of their own, which can be killed: a line for each label that was saved.

python working.py STORE PROJECT_ID ACCOUNT_ID...
"""

import sys
import uuid
from datetime import UTC, datetime

from people import fill_in

from preceptor.store.database import Store, open_store
from preceptor.store.labels import submit
from preceptor.store.queue import claim


def work(store: Store, project: uuid.UUID, account: uuid.UUID) -> uuid.UUID | None:
    """Claim and submit one task, twice as a browser would that got no answer; the label's id."""
    now = datetime.now(UTC)
    # As the app calls them: a server may end one of two transactions, and it is made again.
    held = store.run(lambda session: claim(session, project, account, now=now))
    if held is None:
        return None
    form = fill_in(held)
    receipts = [
        store.run(
            lambda session: submit(session, held.id, account, key=held.key, form=form, now=now)
        )
        for _ in range(2)
    ]
    assert [receipt.outcome for receipt in receipts] == ["counted", "repeated"]
    assert receipts[0].submission_id == receipts[1].submission_id
    return receipts[0].submission_id


if __name__ == "__main__":
    opened = open_store(sys.argv[1])
    project, *accounts = map(uuid.UUID, sys.argv[2:])
    while accounts:
        for account in list(accounts):
            label = work(opened, project, account)
            if label is None:
                accounts.remove(account)
            else:
                print(label, flush=True)
