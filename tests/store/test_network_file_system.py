"""The store on a network file system: NFS 4.2 with a server and two clients, in a small Linux of its own (`tests/nfs`)."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from nfs.machine import lacking, run


@pytest.mark.slow
def test_two_machines_share_a_store_on_nfs() -> None:
    """What is tested is in `tests/nfs/inside.py`."""
    reason = lacking()
    if reason:
        pytest.skip(reason)
    code, printed, outcomes = run(300)
    assert code == 0, printed
    cases = list(ElementTree.fromstring(outcomes).iter("testcase"))
    assert cases
    assert [case.get("name") for case in cases if case.find("skipped") is not None] == []
