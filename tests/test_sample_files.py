"""Files of samples are read, or refused by line."""

from __future__ import annotations

from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.sample_files import read_text_lines, read_token_lines


def test_token_lines_are_read_in_order_and_blank_lines_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text('{"input_ids": [1, 2]}\n\n{"input_ids": [0], "more": "kept out"}\n')
    assert read_token_lines(file) == [[1, 2], [0]]


LINES = {
    "": "empty",
    "\n \n": "empty",
    '{"input_ids": [1]': "line 1: not JSON",
    '{"input_ids": [1]}\n[1, 2]': "line 2: no list input_ids",
    '{"ids": [1]}': "line 1: no list input_ids",
    '{"input_ids": "1 2"}': "line 1: no list input_ids",
    '{"input_ids": []}': "line 1: input_ids is empty",
    '{"input_ids": [1, -4]}': "line 1: -4 is not a token id",
    '{"input_ids": [1, 2.0]}': r"line 1: 2\.0 is not a token id",
    '{"input_ids": [1, true]}': "line 1: true is not a token id",
    '{"input_ids": [1, null]}': "line 1: null is not a token id",
}


@pytest.mark.parametrize("text", LINES)
def test_a_bad_token_file_is_refused_by_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "tokens.jsonl"
    file.write_text(text)
    with pytest.raises(UserError, match=rf"tokens\.jsonl(:|,) {LINES[text]}") as caught:
        read_token_lines(file)
    assert "\n" not in str(caught.value)


def test_a_token_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    for name in ("absent.jsonl", "."):
        with pytest.raises(UserError, match="cannot be read"):
            read_token_lines(tmp_path / name)
    with pytest.raises(UserError, match=r"binary\.jsonl, line 1: not UTF-8 \(byte 0xff\); convert the file"):
        read_token_lines(tmp_path / "binary.jsonl")


def test_what_is_not_utf8_is_told_with_its_line_and_the_mark_before_utf8_is_no_text(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_bytes("eins\ncafé\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"text\.txt, line 2: not UTF-8 \(byte 0xe9\)"):
        read_text_lines(file)
    file.write_text("eins\ncafé\n", encoding="utf-8-sig")
    assert read_text_lines(file) == ["eins", "café"]


def test_text_is_read_from_json_lines_or_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text('{"text": "one\\ntwo"}\r\n\n{"text": "a\u2028b", "id": 7}\n', encoding="utf-8")
    assert read_text_lines(tmp_path / "text.jsonl") == ["one\ntwo", "a\u2028b"]
    (tmp_path / "text.txt").write_text("one\r\n  two \n\n{}\n", encoding="utf-8")
    assert read_text_lines(tmp_path / "text.txt") == ["one", "  two ", "{}"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [("", "empty"), ("text", "line 1: not JSON"), ('{"text": 5}', "line 1: no text"), ("[]", "no text")],
)
def test_a_bad_text_file_is_refused_by_line(line: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "text.jsonl").write_text(line)
    with pytest.raises(UserError, match=expected) as caught:
        read_text_lines(tmp_path / "text.jsonl")
    assert "\n" not in str(caught.value)
