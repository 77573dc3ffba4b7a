"""What an operator makes of its templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

if TYPE_CHECKING:
    from airflow.sdk import Context
    from jinja2 import Environment


class TemplatedOperator(BaseOperator):
    """An operator that fails for good where a template cannot be rendered: it could not in a retry either."""

    def render_template(
        self,
        content: Any,
        context: Context,
        jinja_env: Environment | None = None,
        seen_oids: set[int] | None = None,
    ) -> Any:
        """
        Render a value.

        :raises AirflowFailException: a template in it is wrong, or asks for what there is not.
        """
        # Imported here: parsing a DAG needs none of it.
        from jinja2 import TemplateError, TemplateSyntaxError

        try:
            return super().render_template(content, context, jinja_env, seen_oids)
        except TemplateError as error:
            field = next((name for name in self.template_fields if getattr(self, name, None) is content), None)
            if field is None:  # part of a list or dict, which comes by here too
                raise
            line = f" (line {error.lineno})" if isinstance(error, TemplateSyntaxError) else ""
            raise AirflowFailException(
                f"the template in {field} cannot be rendered: {type(error).__name__}: {error.message}{line}. Correct "
                f"it, or give it what it asks for, in params or in a variable of Airflow"
            ) from error
