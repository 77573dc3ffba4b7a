"""A small Airflow deployment inside the test process: real metadata database, real execution API, real task runner."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow import settings
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.models.dagrun import DagRun
from airflow.models.renderedtifields import RenderedTaskInstanceFields as Fields
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance, clear_task_instances
from airflow.models.xcom import XComModel
from airflow.sdk import DAG
from airflow.sdk.api.datamodels._generated import TaskInstance as RunnableTaskInstance
from airflow.sdk.execution_time import supervisor
from airflow.serialization.definitions.dag import SerializedDAG
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.utils.db import initdb
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete, event, select

_BUNDLE = "dags-folder"
_START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


@dataclass
class Run:
    """
    A run that has ended.

    :param states: by task, mapped ones as ``task[0]``; so are the others.
    :param xcoms: by task, then by key.
    :param errors: what each try of a task raised, in order.
    :param tries: how often each task was tried.
    """

    run_id: str
    states: dict[str, str]
    xcoms: dict[str, dict[str, Any]]
    tries: dict[str, int]
    rendered: dict[str, Any]
    errors: dict[str, list[BaseException]] = field(default_factory=dict)

    @property
    def state(self) -> str:
        """The state of the only task."""
        (state,) = self.states.values()
        return state

    @property
    def result(self) -> dict[str, Any]:
        """What the only task returned."""
        return dict(self.xcom("return_value"))

    @property
    def error(self) -> BaseException:
        """The last error of the only task that failed."""
        (errors,) = self.errors.values()
        return errors[-1]

    def xcom(self, key: str) -> Any:
        """Return an XCom of the only task, None without it."""
        (task,) = self.states
        return self.xcoms.get(task, {}).get(key)


class Deployment:
    """Runs DAGs that no file holds, as the scheduler would, several runs of one DAG beside each other."""

    def __init__(self) -> None:
        for engine in (settings.engine, settings.async_engine and settings.async_engine.sync_engine):
            if engine and engine.dialect.name == "sqlite":
                event.listen(engine, "connect", _wait_for_no_disk)
        initdb()
        DagBundlesManager().sync_bundles_to_db()
        if not hasattr(supervisor.in_process_api_server, "cache_info"):
            # Airflow 3.2 makes an API server for each try of a task, and does not wait until it has started.
            server = supervisor.in_process_api_server()
            assert server.transport
            time.sleep(1)
            supervisor.in_process_api_server = lambda: server

    def register(self, dag: DAG) -> SerializedDAG:
        """Serialize ``dag`` as the DAG processor does: ``dag.test()`` needs it there."""
        dag.validate()
        with create_session() as session:
            lazy = LazyDeserializedDAG.from_dag(dag)
            SerializedDAG.bulk_write_to_db(_BUNDLE, None, [lazy], session=session)
            session.commit()
            SerializedDagModel.write_dag(lazy, bundle_name=_BUNDLE, session=session)
        return DagSerialization.deserialize_dag(self.serialize(dag))

    def serialize(self, dag: DAG) -> dict[str, Any]:
        """Return ``dag`` as the metadata database holds it."""
        return dict(DagSerialization.serialize_dag(dag))

    def test(self, dag: DAG, **options: Any) -> Run:
        """Run ``dag.test(**options)``, as authors do."""
        self.register(dag)
        return self.look(dag.test(**options))

    def create(
        self,
        dag: DAG,
        *,
        logical_date: dt.datetime | None = None,
        run_type: DagRunType = DagRunType.MANUAL,
        conf: Mapping[str, Any] | None = None,
        run_after: dt.datetime | None = None,
    ) -> str:
        """Create a run and return its ID; None as the logical date is what asset events and the API give."""
        scheduled = self.register(dag)
        run_id = f"{run_type.value}__{uuid.uuid4().hex}"
        with create_session() as session:
            scheduled.create_dagrun(
                run_id=run_id,
                logical_date=logical_date,
                data_interval=(logical_date, logical_date) if logical_date else None,
                run_after=run_after or logical_date or dt.datetime.now(dt.UTC),
                conf=dict(conf or {}),
                run_type=run_type,
                state=DagRunState.RUNNING,
                triggered_by=DagRunTriggeredByType.TEST,
                session=session,
            )
        return run_id

    def run(self, dag: DAG, **options: Any) -> Run:
        """Create a run and bring it to its end."""
        return self.resume(dag, self.create(dag, **options))

    def resume(self, dag: DAG, run_id: str, *, tries: int | None = None) -> Run:
        """
        Bring a run to its end.

        :param tries: leave it after so many tries of tasks.
        """
        scheduled = self.register(dag)
        errors: dict[str, list[BaseException]] = {}
        with create_session() as session:
            run = self._run(session, dag.dag_id, run_id)
            run.dag = scheduled
            while run.state == DagRunState.RUNNING and tries != 0:
                session.expire_all()
                ready, _ = run.update_state(session=session)
                for ti in ready:
                    ti.try_number += 1
                    ti.set_state(TaskInstanceState.QUEUED, session=session)
                    session.commit()
                    label = _label(ti)  # a retry takes the place of its row
                    error = self._try(dag, ti)
                    if error is not None:
                        errors.setdefault(label, []).append(error)
                    tries = tries and tries - 1
        ended = self.look(run)
        ended.errors = errors
        return ended

    def clear(self, dag: DAG, run_id: str) -> None:
        """Clear a run, as the button in the UI does."""
        with create_session() as session:
            run = self._run(session, dag.dag_id, run_id)
            clear_task_instances(list(run.get_task_instances(session=session)), session)
            run.state = DagRunState.RUNNING

    def set_state(self, dag: DAG, run_id: str, state: TaskInstanceState) -> None:
        """Let the tasks of a run look as if they were in ``state``."""
        with create_session() as session:
            for ti in self._run(session, dag.dag_id, run_id).get_task_instances(session=session):
                ti.set_state(state, session=session)

    def forget_xcoms(self, dag: DAG) -> None:
        """Delete what tasks of the DAG left, as ``airflow db clean --tables xcom`` does."""
        with create_session() as session:
            session.execute(delete(XComModel).where(XComModel.dag_id == dag.dag_id))

    def replace_xcom(self, dag: DAG, key: str, value: Any) -> None:
        """Put ``value`` in the place of every XCom of this key."""
        with create_session() as session:
            for xcom in session.scalars(select(XComModel).where(XComModel.dag_id == dag.dag_id, XComModel.key == key)):
                xcom.value = value

    def look(self, run: DagRun) -> Run:
        """Return how a run stands."""
        with create_session() as session:
            run = self._run(session, run.dag_id, run.run_id)
            tis = run.get_task_instances(session=session)
            fields_of_run = (Fields.dag_id == run.dag_id, Fields.run_id == run.run_id)
            xcoms: dict[str, dict[str, Any]] = {}
            for xcom in session.scalars(select(XComModel).where(XComModel.dag_run_id == run.id)):
                xcoms.setdefault(_label(xcom), {})[xcom.key] = XComModel.deserialize_value(xcom)
            return Run(
                run_id=run.run_id,
                states={_label(ti): str(ti.state) for ti in tis},
                xcoms=xcoms,
                tries={_label(ti): ti.try_number for ti in tis},
                rendered={
                    _label(fields): fields.rendered_fields
                    for fields in session.scalars(select(Fields).where(*fields_of_run))
                },
            )

    def _try(self, dag: DAG, ti: TaskInstance) -> BaseException | None:
        names = ("id", "task_id", "dag_id", "run_id", "try_number", "map_index", "dag_version_id")
        ended = supervisor.run_task_in_process(
            ti=RunnableTaskInstance(**{name: getattr(ti, name) for name in names}), task=dag.task_dict[ti.task_id]
        )
        return ended.error

    def _run(self, session: Any, dag_id: str, run_id: str) -> DagRun:
        return session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id)).one()


def _wait_for_no_disk(connection: Any, _: Any) -> None:
    connection.cursor().execute("PRAGMA synchronous = OFF")


def _label(ti: TaskInstance | XComModel | Fields) -> str:
    return ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"
