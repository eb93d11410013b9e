"""Tables as CSV, Markdown, LaTeX and HTML. Token text is hostile: it must not break a table or run in a page or spreadsheet."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pandas as pd

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~$-])")


def to_csv(frame: pd.DataFrame) -> str:
    """Comma-separated, one line a row, numbers in full; what is missing is empty.

    Text that a spreadsheet would run as a formula gets an apostrophe before it.
    """
    return str(frame.map(_csv_cell).to_csv(index=False, lineterminator="\n"))


def _csv_cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def to_markdown(frame: pd.DataFrame) -> str:
    """A Markdown table; numbers rounded to be read, text escaped; planted checkpoints in italics with a dagger."""
    lines = [
        "| " + " | ".join(markdown_text(_heading(name)) for name in frame.columns) + " |",
        "|---" * len(frame.columns) + "|",
    ]
    lines += ["| " + " | ".join(row) + " |" for row in _rows(frame, markdown_text, "*{}* †")]
    return "\n".join([*lines, *([""] if _notes(frame) else []), *_notes(frame)]) + "\n"


def to_latex(frame: pd.DataFrame) -> str:
    """A `tabular` with the rules of booktabs, to be read with \\input; planted checkpoints in italics with a dagger.

    Numbers are rounded to be read, text is escaped: none of it is a command. Where cells hold other than Latin script,
    XeLaTeX or LuaLaTeX and a font with that script are needed. Columns of long text are paragraphs.
    """
    lines = [
        "% Needs \\usepackage{booktabs}. LuaLaTeX reads tokens in any script; pdfLaTeX needs \\usepackage[T1]{fontenc}.",
        f"\\begin{{tabular}}{{{''.join(_alignment(frame[name]) for name in frame.columns)}}}",
        "\\toprule",
        " & ".join(_latex(_heading(name)) for name in frame.columns) + r" \\",
        "\\midrule",
    ]
    lines += [" & ".join(row) + r" \\" for row in _rows(frame, _latex, r"\emph{{{}}}\textdagger{{}}")]
    lines += ["\\bottomrule", "\\end{tabular}"]
    if _notes(frame):
        lines += ["", *(_latex(note).replace("†", r"\textdagger{}") for note in _notes(frame))]
    return "\n".join(lines) + "\n"


def _rows(frame: pd.DataFrame, escaped: Callable[[str], str], planted: str) -> Iterator[list[str]]:
    """The cells of each row as they are shown; `planted` is the format of the marked cell of a planted checkpoint."""
    marked = _marked(frame)
    for row in frame.to_dict("records"):
        cells = {name: escaped(value) if isinstance(value, str) else number(value) for name, value in row.items()}
        if _is_planted(row) and marked in cells:
            cells[marked] = planted.format(cells[marked])
        yield list(cells.values())


def to_html(frame: pd.DataFrame, title: str) -> str:
    """A page with the same table: what Snakemake's report shows. Rows of planted checkpoints are grey and in italics."""
    return html_page(title, [f"<h1>{html_text(title)}</h1>", html_table(frame)])


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page around pieces of HTML."""
    head = [f"<!doctype html><meta charset=utf-8><title>{html_text(title)}</title>", f"<style>{STYLE}</style>"]
    return "\n".join([*head, *body]) + "\n"


def html_table(frame: pd.DataFrame) -> str:
    """The table alone, with its footnote if a checkpoint is planted or it has no row."""
    head = "".join(f"<th>{html_text(_heading(name))}</th>" for name in frame.columns)
    lines = [f"<table><thead><tr>{head}</tr></thead>", "<tbody>"]
    marked = _marked(frame)
    for row in frame.to_dict("records"):
        cells = ""
        for name, value in row.items():
            dagger = " †" if _is_planted(row) and name == marked else ""
            is_text = isinstance(value, str)
            shown = html_text(value) if is_text else number(value)
            cells += f"<td{'' if is_text else ' class=number'}>{shown}{dagger}</td>"
        lines.append(f"<tr{' class=planted' if _is_planted(row) else ''}>{cells}</tr>")
    return "\n".join([*lines, "</tbody></table>", *(f"<p>{note}</p>" for note in _notes(frame))])


DAGGER = "† planted: tiny, untrained, one activation put in on purpose; says nothing about any released model."
NO_ROWS = "No rows: nothing that this study has goes into this table."
STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; margin: 1.5em; color: #111; background: #fff; }
h1 { font-size: 1.2em; }
h2 { font-size: 1.1em; margin-top: 2em; }
p { max-width: 48em; }
table { border-collapse: collapse; width: max-content; }
th, td { padding: 0.3em 0.8em; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; max-width: 24em; }
th { border-bottom: 2px solid #111; }
th:first-child, td:first-child { position: sticky; left: 0; background: #fff; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.planted td, .planted td:first-child { background: #f0f0f0; color: #666; font-style: italic; }
"""


def _heading(column: str) -> str:
    return column.replace("_", " ")


def _is_planted(row: dict[Any, Any]) -> bool:
    return bool(row.get("kind") == "planted")


def _marked(frame: pd.DataFrame) -> str:
    """The column that has the dagger of a planted row: the checkpoint's name, or the group's."""
    return "checkpoint" if "checkpoint" in frame else "group"


def _notes(frame: pd.DataFrame) -> list[str]:
    """What is said below a table."""
    if frame.empty:
        return [NO_ROWS]
    return [DAGGER] if "kind" in frame and bool((frame["kind"] == "planted").any()) else []


def visible(text: str) -> str:
    """The same on one line: control characters and line breaks as escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def html_text(text: str) -> str:
    """Text that is no HTML, on one line."""
    return html.escape(visible(text))


def markdown_text(text: str) -> str:
    """Text that is neither Markdown nor HTML, on one line."""
    return _MARKDOWN.sub(r"\\\1", html.escape(visible(text), quote=False))


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\textquotedbl{}",
    # After the end of a row these would be read as its options.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    **{character: f"\\{character}" for character in "%&#$_{}"},
}
LONG = 40
"""Characters from which a column of text is a paragraph in LaTeX."""


def _latex(text: str) -> str:
    escaped = "".join(_LATEX.get(character, character) for character in visible(text))
    escaped = re.sub(r"([-,])(?=\1)", r"\1{}", escaped)  # no ligatures: two hyphens stay two
    return re.sub(r"^ | $|(?<= ) ", lambda _: r"\ ", escaped)  # spaces that would be swallowed


def _alignment(column: pd.Series) -> str:
    texts = [value for value in column if isinstance(value, str)]
    if not texts:
        return "r"
    return r"p{0.3\linewidth}" if max(map(len, texts)) > LONG else "l"


def number(value: Any) -> str:
    """A number as people read it: four significant digits, thousands apart; nothing for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float) and not float(value).is_integer():
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:,.4g}"
    return f"{int(value):,}"
