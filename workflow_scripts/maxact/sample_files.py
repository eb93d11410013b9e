"""Samples that a user gives as a file: token ids or text, one sample a line."""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

from maxact.errors import UserError

TOKENS = 'one {"input_ids": [...]} a line'
TEXT = 'one {"text": "..."} a line, or in a file that is not .jsonl one plain text a line'


def read_token_lines(file: Path) -> list[list[int]]:
    """The samples of a JSON-lines file, one `{"input_ids": [...]}` a line.

    Raises:
        UserError: names file and line.
    """
    return [_token_line(_json(line, where, TOKENS), where) for where, line in _lines(file, TOKENS)]


def read_text_lines(file: Path) -> list[str]:
    """The samples of a JSON-lines file, one `{"text": "..."}` a line, or of a plain text file, one a line.

    Raises:
        UserError: names file and line.
    """
    if file.suffix != ".jsonl":
        return [line for _, line in _lines(file, TEXT)]
    return [_text_line(_json(line, where, TEXT), where) for where, line in _lines(file, TEXT)]


def _lines(file: Path, wanted: str) -> list[tuple[str, str]]:
    """Lines that are not blank, each with the place that errors name."""
    try:
        data = file.read_bytes().removeprefix(BOM_UTF8)  # what some editors write before text is no part of a sample
        lines = data.decode().replace("\r\n", "\n").split("\n")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({type(error).__name__}); give {wanted}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{file}, line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); convert the file, as with iconv"
        ) from None
    found = [(f"{file}, line {number}", line) for number, line in enumerate(lines, start=1) if line.strip()]
    if not found:
        raise UserError(f"{file}: empty; give {wanted}")
    return found


def _json(line: str, where: str, wanted: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        raise UserError(f"{where}: not JSON; give {wanted}") from None


def _text_line(row: Any, where: str) -> str:
    text = row.get("text") if isinstance(row, dict) else None
    if not isinstance(text, str) or not text:
        raise UserError(f"{where}: no text; give {TEXT}")
    return text


def _token_line(row: Any, where: str) -> list[int]:
    ids = row.get("input_ids") if isinstance(row, dict) else None
    if not isinstance(ids, list):
        raise UserError(f"{where}: no list input_ids; give {TOKENS}")
    if not ids:
        raise UserError(f"{where}: input_ids is empty; remove the line")
    wrong = [token for token in ids if type(token) is not int or token < 0]
    if wrong:
        raise UserError(f"{where}: {json.dumps(wrong[0])} is not a token id; ids are integers from 0")
    return ids
