"""Whatever stands in a page's address: no page breaks, and none finds what is not there."""

import uuid
from typing import Any

import pytest
from browsers import Browser, Enter, make_project
from fastapi.routing import iter_route_contexts
from sqlalchemy import select

from preceptor.store.accounts import publish_guideline
from preceptor.store.database import Store
from preceptor.store.tables import Assignment, Guideline, Task

WRONG = (  # as they stand in an address
    "x",
    "-1",
    "0",
    "2147483648",
    "9223372036854775808",
    "9" * 400,
    "1e400",
    "nan",
    "inf",
    "%D9%A3",  # a digit of another script
    "%00",
    "%FF",
    "%ED%A0%80",  # half a character
    "%27%20OR%201%3D1",
    "..%2F..%2Fx",
    "a" * 5000,
    "00000000-0000-0000-0000-000000000000",
    "2026-02-30T00:00:00Z",
    "0001-01-01T00:00:00%2B14:00",  # before the first year, in UTC
    "9999-12-31T23:59:59-14:00",  # after the last
)


def parameters(route: Any) -> tuple[list[str], list[str]]:
    """Names of the path's and of the query's, with those that its dependencies ask for."""
    in_path: dict[str, None] = {}
    in_query: dict[str, None] = {}
    waiting = [route.dependant]
    while waiting:
        dependant = waiting.pop()
        waiting += dependant.dependencies
        in_path |= dict.fromkeys(field.alias for field in dependant.path_params)
        in_query |= dict.fromkeys(field.alias for field in dependant.query_params)
    return list(in_path), list(in_query)


def pages(app: Any) -> list[tuple[str, str, list[str], list[str]]]:
    return [
        (method, route.path, *parameters(route))
        for route in iter_route_contexts(app.routes)
        if hasattr(route, "dependant") and not route.path.startswith("/api/")
        for method in sorted(route.methods - {"HEAD"})
    ]


@pytest.fixture
def admin(enter: Enter) -> Browser:
    browser = enter("ada", role="admin", group="researcher")
    browser._transport.raise_server_exceptions = False  # type: ignore[attr-defined]
    return browser


@pytest.fixture
def right(store: Store, admin: Browser, clock: Any) -> dict[str, str]:
    """What each parameter may be, so that one wrong value is not hidden behind another."""
    project = make_project(store, groups=("researcher",))
    admin.submit(f"/projects/{project}/claim")
    with store.write() as session:
        publish_guideline(session, "rules", "Help first.", now=clock())
        guideline = session.scalars(select(Guideline.id)).one()
        assignment = session.scalars(select(Assignment.id)).one()
        task = session.scalars(select(Task.id)).one()
    return {
        "project_id": str(project),
        "task_id": str(assignment),  # on the labelers' pages
        "lead task_id": str(task),
        "assignment_id": str(uuid.UUID(int=5)),  # freed, there would be none
        "guideline_id": str(guideline),
        "account_id": str(admin.account),  # type: ignore[attr-defined]
        "export_id": "1",
        "position": "1",
        "version": "1",
        "token": "none",
        "key_id": "1",
    }


def test_no_address_breaks_a_page(app: Any, admin: Browser, right: dict[str, str]):
    asked, broken = 0, []
    token = admin.token()
    for method, path, in_path, in_query in pages(app):
        lead = path.startswith("/lead")
        known = right | ({"task_id": right["lead task_id"]} if lead else {})
        assert known.keys() >= set(in_path), f"{path}: say what is right"
        for name in in_path + in_query:
            for wrong in WRONG:
                values = known | ({name: wrong} if name in in_path else {})
                address = path.format_map(values) + (f"?{name}={wrong}" if name in in_query else "")
                data = {"csrf": token} if method == "POST" else None
                status = admin.request(method, address, data=data).status_code
                asked += 1
                if status >= 500 or (name in in_path and name != "token" and status == 200):
                    broken.append((status, method, address[:120]))
    assert broken == []
    assert asked > 40 * len(WRONG)


@pytest.mark.parametrize(
    ("address", "status"),
    [
        ("/recent?before=0001-01-01T00:00:00%2B14:00", 400),
        ("/recent?before=9999-12-31T23:59:59-14:00", 400),
        ("/recent?before=0001-01-01T00:00:00Z", 200),
        ("/lead/exports/9223372036854775808/file", 404),
        ("/lead/exports/0/file", 404),
    ],
)
def test_what_is_out_of_reach_is_refused(admin: Browser, address: str, status: int):
    assert admin.get(address).status_code == status
