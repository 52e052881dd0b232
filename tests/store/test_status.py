"""What is counted of the work."""

from people import add_labeler, add_project, at, fill_in

from preceptor.store.database import Store
from preceptor.store.labels import submit
from preceptor.store.queue import claim
from preceptor.store.status import ProjectStatus, project_status


def test_a_task_in_hands_is_not_done(store: Store):
    """Two labels of each task wanted: done is what has both, not what is handed out twice."""

    def status() -> ProjectStatus:
        with store.read() as session:
            [found] = project_status(session)
            return found

    with store.write() as session:
        project = add_project(session, num_tasks=1, overlap=2, groups=("training",))
        people = [add_labeler(session, store, name) for name in ("ann", "bob")]
        views = [claim(session, project, who, now=at(0)) for who in people]
    steps = [(status().num_full, status().num_leased, status().num_labels)]
    for who, view in zip(people, views, strict=True):
        assert view is not None
        with store.write() as session:
            submit(session, view.id, who, key=view.key, form=fill_in(view), now=at(10))
        steps.append((status().num_full, status().num_leased, status().num_labels))
    assert steps == [(0, 2, 0), (0, 1, 1), (1, 0, 2)]


def test_what_every_labeler_gets_is_never_done(store: Store):
    with store.write() as session:
        project = add_project(
            session, num_tasks=2, num_calibration=2, calibration_fraction=1.0, groups=("training",)
        )
        who = add_labeler(session, store, "ann")
        view = claim(session, project, who, now=at(0))
        assert view is not None
        submit(session, view.id, who, key=view.key, form=fill_in(view), now=at(10))
    with store.read() as session:
        [found] = project_status(session)
    assert (found.num_tasks, found.num_full, found.num_labels) == (2, 0, 1)
