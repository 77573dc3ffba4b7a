"""Jinja over the columns of a row, sandboxed: builds values, never JSON text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_provider_census.errors import ConfigError

_Render = Callable[[Mapping[str, Any]], Any]


def check_set(value: object, where: str) -> None:
    """
    Check when a field is to be written.

    :raises ConfigError: there is no such policy.
    """
    if value not in ("always", "if_empty"):
        raise ConfigError.unknown(f"set policy of {where}", value, ("always", "if_empty"))


@dataclass(frozen=True, slots=True)
class Template:
    """
    A value built from the columns of a row.

    ``Template("{{ first }} {{ last }}")`` gives text; a single expression, ``Template("{{ amount * 100 }}")``, gives
    its value; lists and dicts are filled leaf by leaf: ``Template({"type": "mrkdwn", "text": "*{{ name }}*"})``.
    NULL is written as nothing.

    :param set: when the field is written: ``always``, or ``if_empty``, as of a ``Column``.
    """

    value: Any
    set: str = "always"

    def __post_init__(self) -> None:
        check_set(self.set, "Template")

    def bind(
        self,
        column_at: Callable[[str], int],
        *,
        escape: Callable[[Any], Any],
        convert: Callable[[Any], Any],
    ) -> Callable[[Sequence[Any]], Any]:
        """
        Compile for rows of one model.

        :param column_at: position of a column by name; raises ConfigError for an unknown one.
        :param escape: applied to what comes out of an expression, not to the text around it.
        :param convert: gives a database value as a JSON value.
        :raises ConfigError: the template is not valid Jinja, or names a column the model does not have.
        """
        compiler = _Compiler(escape, convert)
        render = compiler.compile(self.value)
        positions = {name: column_at(name) for name in sorted(compiler.names)}
        return lambda row: render({name: convert(row[at]) for name, at in positions.items()})


class _Compiler:
    def __init__(self, escape: Callable[[Any], Any], convert: Callable[[Any], Any]) -> None:
        from jinja2 import StrictUndefined
        from jinja2.sandbox import SandboxedEnvironment

        self._escape = escape
        self.names: set[str] = set()
        self._env = SandboxedEnvironment(
            undefined=StrictUndefined,
            finalize=lambda v: "" if v is None else self._out(v),
            autoescape=False,
        )

    def compile(self, value: Any) -> _Render:
        if isinstance(value, Mapping):
            leaves = {key: self.compile(item) for key, item in value.items()}
            return lambda row: {key: render(row) for key, render in leaves.items()}
        if isinstance(value, (list, tuple)):
            items = [self.compile(item) for item in value]
            return lambda row: [render(row) for render in items]
        if isinstance(value, str):
            return self._text(value)
        return lambda _: value

    def _text(self, text: str) -> _Render:
        from jinja2 import TemplateError, TemplateSyntaxError, meta, nodes

        try:
            tree = self._env.parse(text)
            self.names |= meta.find_undeclared_variables(tree)
        except TemplateSyntaxError as error:
            raise ConfigError(f"Template {text!r} is not valid Jinja: {error.message}") from None
        match tree.body:
            case [nodes.Output(nodes=[single])] if not isinstance(single, nodes.TemplateData):
                render = self._expression(single)
            case _:
                template = self._env.from_string(text)

                def render(row: Mapping[str, Any]) -> Any:
                    return template.render(row)

        def safe(row: Mapping[str, Any]) -> Any:
            try:
                return render(row)
            except (
                TemplateError,
                ArithmeticError,
                LookupError,
                TypeError,
                AttributeError,
            ) as error:
                raise ValueError(f"a template failed on this row ({type(error).__name__})") from None

        return safe

    def _expression(self, expression: Any) -> _Render:
        from jinja2 import nodes
        from jinja2.environment import TemplateExpression

        # As Environment.compile_expression does, from the tree: the text would have to be cut out of its braces.
        assign = nodes.Assign(nodes.Name("result", "store"), expression, lineno=1)
        compiled = TemplateExpression(
            self._env.from_string(nodes.Template([assign], lineno=1)),
            undefined_to_none=False,
        )
        return lambda row: self._native(compiled(row))

    def _native(self, value: Any) -> Any:
        from jinja2 import Undefined

        if isinstance(value, Undefined):
            str(value)  # a strict one raises, naming what is missing
        return self._escape(value)

    def _out(self, value: Any) -> Any:
        return self._escape(str(value))
