"""``@task.census_sync``: a sync whose model is what a function returns."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory
from airflow.sdk.definitions._internal.types import SET_DURING_EXECUTION
from airflow.sdk.definitions.context import context_merge
from airflow.sdk.exceptions import AirflowFailException

from airflow_provider_census.operators.sync import CensusSyncOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class _CensusSyncDecoratedOperator(DecoratedOperator, CensusSyncOperator):
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *CensusSyncOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **CensusSyncOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.census_sync"
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., str],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            sql=SET_DURING_EXECUTION,
            **kwargs,
        )

    def execute(self, context: Context) -> dict[str, Any]:
        """Call the function for the model, then run the sync."""
        context_merge(context, self.op_kwargs)
        kwargs = self.determine_kwargs(context)
        sql = self.python_callable(*self.op_args, **kwargs)
        if not isinstance(sql, str) or not sql.strip():
            raise AirflowFailException("the function of @task.census_sync must return the SQL of the model, a string")
        self.sql = sql
        self.render_template_fields(context)
        return CensusSyncOperator.execute(self, context)


def census_sync_task(python_callable: Callable[..., str] | None = None, **kwargs: Any) -> TaskDecorator:
    """
    Turn a function that returns SQL into a sync.

    :param python_callable: the function; the other arguments are those of
        :class:`~airflow_provider_census.operators.sync.CensusSyncOperator`, without ``sql``.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=_CensusSyncDecoratedOperator, **kwargs
    )
