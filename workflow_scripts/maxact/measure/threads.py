"""numba's threads beside torch's: both use OpenMP, which has one number of threads for the whole process."""

from __future__ import annotations

import numba
import torch


def share_out(threads: int) -> None:
    """Let compiled loops run on `threads` threads, and torch on as many as before.

    When numba is first asked for threads it starts as many as there are cores and makes that OpenMP's number. From then
    on torch's passes would run on all cores, whatever the study says, and the last bits of what they give depend on it.
    """
    before = torch.get_num_threads()
    numba.set_num_threads(threads)
    if torch.get_num_threads() != before:
        torch.set_num_threads(before)
