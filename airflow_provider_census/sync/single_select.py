"""The author's text taken apart, as far as SQL around it needs."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from sqlglot import Token, TokenType, tokenize
from sqlglot.errors import SqlglotError

from airflow_provider_census.errors import ConfigError

# SQL Server takes WITH at the head of a statement only, not in a derived table.
_HOISTS_WITH = frozenset({"tsql", "fabric"})


def split(sql: str, dialect: str) -> tuple[str, str]:
    """
    Return the author's text without a closing semicolon, in two parts where WITH must stand outside.

    :raises ConfigError: it is not one SELECT.
    """
    try:
        tokens = tokenize(sql, read=dialect or None)
    except SqlglotError:
        # Newer syntax than the tokenizer knows: the database has the last word about it.
        return "", sql.strip().rstrip("; \t\r\n")
    _check_single_select(tokens)
    semicolon = next(
        (token.start for token in tokens if token.token_type is TokenType.SEMICOLON),
        len(sql),
    )
    text = sql[:semicolon].strip()
    if dialect in _HOISTS_WITH and tokens[0].token_type is TokenType.WITH:
        start = _main_select(tokens)
        return sql[:start], sql[start:semicolon].strip()
    return "", text


def _check_single_select(tokens: Sequence[Token]) -> None:
    kinds = [token.token_type for token in tokens]
    statement = list(itertools.dropwhile(lambda kind: kind is TokenType.SEMICOLON, reversed(kinds)))
    if not statement:
        raise ConfigError("the model is empty; write one SELECT")
    if TokenType.SEMICOLON in statement:
        raise ConfigError("the model has more than one statement; write one SELECT")
    if kinds[0] not in (TokenType.SELECT, TokenType.WITH, TokenType.L_PAREN):
        raise ConfigError(f"the model starts with {tokens[0].text!r}; it must be one SELECT (or WITH … SELECT)")


def _main_select(tokens: Sequence[Token]) -> int:
    """Return where the SELECT behind the common table expressions starts."""
    depth = 0
    for token in tokens:
        depth += (token.token_type is TokenType.L_PAREN) - (token.token_type is TokenType.R_PAREN)
        if depth == 0 and token.token_type is TokenType.SELECT:
            return int(token.start)
    raise ConfigError("the model has WITH and no SELECT behind it")
