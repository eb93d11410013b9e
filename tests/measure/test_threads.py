"""A pass runs on the threads that were asked for, however many cores there are."""

from __future__ import annotations

import os
import subprocess
import sys

PROGRAM = """
import os
import numpy as np
import torch
from maxact.measure.numba_kernel import NumbaKernel
from maxact.quantize.row_kernel import Calibration, CompiledKernel, Sums
from maxact.quantize.ways import ways
x, asked = torch.ones(4, 5, dtype=torch.bfloat16), ways(["int8"], ["token"])
child = os.fork()  # for numba starts threads once in a process
if child:
    NumbaKernel().scan(x, np.zeros(65536, np.int64))
    os.waitpid(child, 0)
else:
    CompiledKernel(asked).add(Sums.zero(asked), x, Calibration.of(np.ones(5)))
print(torch.get_num_threads(), flush=True)
"""


def test_compiled_loops_leave_torch_its_number_of_threads() -> None:
    """As on a machine of three cores, where one thread is asked for."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "3"}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1", "1"], done.stderr
