"""A data set of the hub that is not there, or not for everybody, is one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hub.server import Hub

READ = """
import sys
from maxact.corpus.rows import rows
from maxact.errors import UserError
pin = {"commit": "0" * 40, "licence": "unknown"}
source = {"kind": "hub", "repository": "owner/text", "configuration": None, "split": "train", "pin": pin}
try:
    list(rows(source, {"text": "text", "subset": None}))
except UserError as error:
    print(f"error: {error}")
"""


def told(address: str) -> str:
    """What a process says that reads from the hub at that address, which the library reads when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": address}
    environment.pop("HF_HUB_OFFLINE", None)
    done = subprocess.run([sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True)
    line, *more = done.stdout.splitlines()
    assert more == []
    assert "owner/text" in line
    return line


@pytest.mark.parametrize("there", [False, True])
def test_it_names_the_page_and_the_token(there: bool, hub: Hub) -> None:
    if there:
        hub.repository("owner/text", "datasets").gated = True
    line = told(hub.address)
    assert f"{hub.address}/datasets/owner/text" in line
    assert "HF_TOKEN" in line
