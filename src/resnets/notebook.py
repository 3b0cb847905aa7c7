"""Tables for notebooks, which ask an object for `_repr_html_`: plain HTML that any theme colours, names escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from resnets.text import printable

MOST_ROWS = 200  # of a table; the rest is counted

_NUMBER = "text-align:right;font-variant-numeric:tabular-nums"
_WORDS = "text-align:left"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "", words: int = 1, bold_last: bool = False
) -> str:
    """An HTML table.

    columns     headings
    rows        texts, one for each column; of more than `MOST_ROWS` the first
    title       above it, in bold
    words       how many columns from the left hold words; the others hold numbers, at the right
    bold_last   whether the last row sums the others up
    """
    listed = list(rows)
    last = [_row("td", listed.pop(), words, bold=True)] if bold_last and listed else []
    more = len(listed) - MOST_ROWS
    body = [_row("td", row, words) for row in listed[:MOST_ROWS]]
    if more > 0:
        body.append(f'<tr><td colspan="{len(columns)}">and {more:,} more</td></tr>')
    body += last
    head = f"<thead>{_row('th', columns, words)}</thead>" if any(columns) else ""
    return f"{heading(title) if title else ''}<table>{head}<tbody>{''.join(body)}</tbody></table>"


def heading(text: str) -> str:
    """A line in bold."""
    return f"<p><b>{text_of(text)}</b></p>"


def text_of(text: str) -> str:
    """A name or a sentence, safe within HTML."""
    return escape(printable(text))


def _row(kind: str, cells: Sequence[str], words: int, bold: bool = False) -> str:
    def cell(number: int, text: str) -> str:
        inner = text_of(text)
        inner = f"<b>{inner}</b>" if bold else inner
        return f'<{kind} style="{_WORDS if number < words else _NUMBER}">{inner}</{kind}>'

    return f"<tr>{''.join(cell(number, text) for number, text in enumerate(cells))}</tr>"
