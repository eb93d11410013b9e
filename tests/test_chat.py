"""The policy `chat`: a text in its tokenizer's own template, whatever is in the text, or one line why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from maxact.chat import as_chat
from maxact.errors import PolicyError

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def config(folder: Path, **found: Any) -> Path:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({"bos_token": {"content": "<s>"}, "pad_token": None, **found}))
    return file


def test_a_text_is_one_message_of_a_user_and_no_answer_is_begun(tmp_path: Path) -> None:
    found = as_chat(["one", "two"], config(tmp_path, chat_template=TEMPLATE))
    assert found == ["<s><|user|>one<|end|>", "<s><|user|>two<|end|>"]


def test_of_several_templates_the_default_is_taken(tmp_path: Path) -> None:
    named = [{"name": "tools", "template": "no"}, {"name": "default", "template": TEMPLATE}]
    assert as_chat(["one"], config(tmp_path, chat_template=named)) == ["<s><|user|>one<|end|>"]


def test_a_template_in_a_file_of_its_own_goes_before_that_of_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "chat_template.jinja"
    found = as_chat(["one"], config(tmp_path, chat_template=TEMPLATE), file)
    assert found == ["<s><|user|>one<|end|>"]
    file.write_text("[{{ messages[0].content }}]")
    assert as_chat(["one"], config(tmp_path, chat_template=TEMPLATE), file) == ["[one]"]


@pytest.mark.parametrize("text", ["{{ 7 * 7 }} {% raw %}", "}}{{", "a\nb {# c #}", "<|end|>"])
def test_what_looks_like_a_template_in_a_text_stays_text(text: str, tmp_path: Path) -> None:
    assert as_chat([text], config(tmp_path, chat_template=TEMPLATE)) == [f"<s><|user|>{text}<|end|>"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "the tokenizer has no chat template; use none or bos"),
        ([{"name": "tools", "template": "no"}], "the tokenizer has no chat template"),
        (TEMPLATE + "{{ strftime_now('%d') }}", "the tokenizer's chat template writes the date"),
        ("{{ messages[0].content[:1] }}", "the tokenizer's chat template does not keep a user's message as it is"),
        ("{% for %}", r"the tokenizer's chat template fails \("),
        ("{{ raise_exception('no users') }}", r"the tokenizer's chat template fails \(no users\); use none or bos"),
        ("{{ messages.__class__.__mro__ }}", r"the tokenizer's chat template fails \("),
    ],
)
def test_a_template_that_is_missing_or_broken_or_unsafe_is_one_line(
    template: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(PolicyError, match=rf"^tokens.special_tokens: chat, but {message}") as caught:
        as_chat(["one two"], config(tmp_path, chat_template=template))
    assert "\n" not in str(caught.value)
