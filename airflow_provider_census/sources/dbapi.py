"""
Reads a model through any hook that is a ``DbApiHook``.

What the hooks leave to their drivers stands here: which cursor keeps the rows at the server, how parameters are
marked, and which error means what. Neither parameters nor rows are logged.
"""

from __future__ import annotations

import random
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from airflow.providers.common.sql.hooks.lineage import send_sql_hook_lineage
from airflow.providers.common.sql.hooks.sql import DbApiHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from sqlglot import Dialects

from airflow_provider_census.errors import ConfigError, Unavailable
from airflow_provider_census.sync.spool import spooled
from airflow_provider_census.sync.statement import MYSQL_CONNECTOR, Query

# Connection types and SQLAlchemy names that sqlglot knows by another name.
_DIALECTS = {"postgresql": "postgres", "gcpbigquery": "bigquery", "mssql": "tsql", "awsathena": "athena"}
_KNOWN = frozenset(dialect.value for dialect in Dialects)
# Drivers whose hooks do not tell: the placeholder is the base class's, which these drivers do not take. From the
# documentation of databricks-sql-connector (native parameters), pyodbc, JayDeBeApi, PyAthena, python-oracledb.
_PARAMSTYLES = {"databricks": "qmark", "odbc": "qmark", "jdbc": "qmark", "athena": "pyformat", "oracle": "named"}
# PEP 249: the statement is wrong, as opposed to a database that is not well.
_AUTHORS_ERRORS = ("ProgrammingError", "NotSupportedError")
_CONFLICT_WAITS_S = (0.2, 0.5, 1.0, 2.0)
_SQLITE_ERROR = 1  # SQLite's code for a wrong statement; its driver calls it operational like a lock or a full disk


class DbApiSource:
    """
    A database behind an Airflow hook.

    :param hook: of the source connection; each read opens a connection of its own.
    :param role: what it is here, for messages.
    :raises ConfigError: the hook does not run SQL.
    """

    def __init__(self, hook: BaseHook, role: str = "source connection") -> None:
        if not isinstance(hook, DbApiHook):
            raise ConfigError(f"a {type(hook).__name__} runs no SQL; a connection to a database is needed")
        self._hook = hook
        self._conn_id = hook.get_conn_id()
        self._where = f"{role} {self._conn_id!r}"
        conn_type = str(getattr(hook, "conn_type", ""))
        self.dialect = _dialect(conn_type) or _dialect(hook.dialect_name)
        self.paramstyle = _PARAMSTYLES.get(conn_type) or ("qmark" if hook.placeholder == "?" else "format")
        if conn_type == "mysql" and hook.get_connection(self._conn_id).extra_dejson.get("client") == MYSQL_CONNECTOR:
            self.paramstyle = MYSQL_CONNECTOR

    @classmethod
    def of(cls, conn_id: str, role: str = "source connection") -> DbApiSource:
        """
        Return the source behind an Airflow connection.

        :raises ConfigError: the connection is missing, or not one to a database.
        """
        try:
            return cls(BaseHook.get_hook(conn_id), role)
        except AirflowNotFoundException:
            raise ConfigError(f"{role} {conn_id!r} is not defined") from None
        except ConfigError as error:
            raise ConfigError(f"{role} {conn_id!r}: {error}") from None
        except AirflowException as error:  # no provider has a hook for the type
            raise ConfigError(
                f"{role} {conn_id!r}: {error}; is the connection's type right, and the Airflow provider of that "
                f"database installed?"
            ) from None

    def columns(self, query: Query) -> list[str]:
        """Return the names of the columns of ``query``."""
        with closing(self._open(_connect)) as connection, closing(connection.cursor()) as cursor:
            self._execute(connection, cursor, query)
            return [str(column[0]) for column in cursor.description]

    def stream(self, query: Query, batch_rows: int = 1000) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        """
        Yield the rows of ``query`` in batches, as the database's cursor gives them.

        SQLite lets nobody write while a cursor is open, and what a run remembers may be kept there: its rows are read
        to the end first.

        :raises ConfigError: the database does not take the query, or cannot evaluate it.
        :raises Unavailable: the database failed.
        """
        batches = self._batches(query, batch_rows)
        with closing(batches):
            yield from spooled(batches) if self.dialect == "sqlite" else batches

    def _batches(self, query: Query, batch_rows: int) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        with closing(self._open(_connect)) as connection, closing(_cursor(connection)) as cursor:
            if hasattr(cursor, "arraysize"):  # DuckDB's has none
                cursor.arraysize = batch_rows
            self._execute(connection, cursor, query)
            while batch := self._fetch(connection, cursor, batch_rows):
                yield batch

    def write(self, queries: Iterable[Query]) -> None:
        """
        Run ``queries`` in one transaction.

        Databases end one of two transactions that are in each other's way, though the shards of a sync have no row in
        common: it is tried again.

        :raises ConfigError: the database does not take one of them, or the connection may not write.
        :raises Unavailable: the database failed.
        """
        queries = list(queries)
        for wait_s in (*_CONFLICT_WAITS_S, None):
            running = False
            try:
                with self._transaction() as run:
                    running = True
                    for query in queries:
                        run(query)
                    running = False
                return
            except Unavailable:
                # A database that is away is not waited for; whether a commit without an answer was one, nobody knows.
                if wait_s is None or not running:
                    raise
            time.sleep(random.uniform(0.5, 1.0) * wait_s)

    @contextmanager
    def _transaction(self) -> Iterator[Callable[[Query], None]]:
        """Give a function that runs statements; they are committed at the end."""
        with closing(self._open(lambda hook: hook.get_conn())) as connection, closing(connection.cursor()) as cursor:
            if self._hook.supports_autocommit:
                self._hook.set_autocommit(connection, False)
            # DuckDB's cursor is a connection of its own, and outside of a transaction until told otherwise.
            owner = cursor if hasattr(cursor, "begin") else connection
            if owner is cursor:
                cursor.begin()
            yield lambda query: self._execute(connection, cursor, query)
            with self._driver_errors(connection):
                owner.commit()

    def _open(self, connect: Callable[[DbApiHook], Any]) -> Any:
        try:
            return connect(self._hook)
        except Exception as error:
            # There is no connection yet to tell the driver by, but PEP 249 names the root of its errors.
            if not any(base.__name__ == "Error" for base in type(error).__mro__):
                raise
            raise Unavailable(f"{self._where}: no connection: {_first_line(error)}") from None

    def _execute(self, connection: Any, cursor: Any, query: Query) -> None:
        with self._driver_errors(connection):
            if query.parameters is None:
                cursor.execute(query.sql)
            else:
                cursor.execute(query.sql, query.parameters)
        send_sql_hook_lineage(context=self._hook, sql=query.sql, cur=cursor)

    def _fetch(self, connection: Any, cursor: Any, batch_rows: int) -> Sequence[tuple[Any, ...]]:
        with self._driver_errors(connection):
            batch: Sequence[Any] = cursor.fetchmany(batch_rows)
        if batch and type(batch[0]) is not tuple:
            return [tuple(row.values() if isinstance(row, Mapping) else row) for row in batch]
        return batch

    @contextmanager
    def _driver_errors(self, connection: Any) -> Iterator[None]:
        try:
            yield
        except _driver_error(connection) as error:
            kinds = {base.__name__ for base in type(error).__mro__}
            if "DataError" in kinds:
                # Its words quote the value that does not convert.
                raise ConfigError(
                    f"{self._where}: a value in the model cannot be evaluated ({type(error).__name__}); run the "
                    f"model in the database to see which"
                ) from None
            # The lines behind the first quote the statement, at some drivers with the values bound to it.
            words = _first_line(error)
            if kinds.intersection(_AUTHORS_ERRORS) or getattr(error, "sqlite_errorcode", None) == _SQLITE_ERROR:
                raise ConfigError(f"{self._where}: the database does not take the model: {words}") from None
            raise Unavailable(f"{self._where}: {words}") from None


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _dialect(name: str) -> str:
    name = _DIALECTS.get(name, name)
    return name if name in _KNOWN else ""


def _connect(hook: DbApiHook) -> Any:
    if hook.conn_type == "gcpbigquery":
        # The cursor of Airflow's hook writes the values into the statement, dates without quotes, and returns
        # timestamps as numbers. The one of Google's client library binds them, typed.
        from google.cloud.bigquery import dbapi

        return dbapi.connect(hook.get_client(project_id=hook.project_id, location=hook.location))
    connection = hook.get_conn()
    if _driver(connection) == "mysql":
        # mysql-connector-python leaves the rows at the server, and unless told otherwise refuses to close before the
        # last one was read.
        connection.can_consume_results = True
    return connection


def _cursor(connection: Any) -> Any:
    """Return a cursor that leaves the rows at the server where the driver has such a one."""
    driver = _driver(connection)
    if driver in ("psycopg", "psycopg2"):
        return connection.cursor(name=f"census_{uuid.uuid4().hex}")
    if driver == "MySQLdb":
        return connection.cursor(sys.modules["MySQLdb.cursors"].SSCursor)
    return connection.cursor()


def _driver(connection: Any) -> str:
    return type(connection).__module__.partition(".")[0]


def _driver_error(connection: Any) -> tuple[type[Exception], ...]:
    """Return the root of the driver's errors, which PEP 249 puts into the driver's module."""
    module = type(connection).__module__
    while module:
        error = getattr(sys.modules.get(module), "Error", None)
        if isinstance(error, type) and issubclass(error, Exception):
            return (error,)
        module = module.rpartition(".")[0]
    return ()
