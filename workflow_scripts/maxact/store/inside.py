"""One job inside an environment: JSON in, JSON out (`environment.compute_in` starts it there).

python -P -m maxact.store.inside job.json
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from maxact.errors import UnavailableError, UserError
from maxact.store.compute import compute_here
from maxact.store.disk import telling, write_atomically
from maxact.store.job import Job
from maxact.store.objects import Manifest, Store


def main(request: Path) -> None:
    """Compute the job that `request` describes, and write its product, or what the user may see, where it says."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    asked = json.loads(request.read_text(encoding="utf-8"))
    fields = asked["job"]
    fields |= {"inputs": {source: Manifest.from_fields(found) for source, found in fields["inputs"].items()}}
    fields |= {"store": Store(Path(fields["store"])), "scratch": Path(fields["scratch"])}
    fields |= {"unfinished": Path(fields["unfinished"]) if fields["unfinished"] else None}
    told: dict[str, Any]
    try:
        with telling(fields["store"].root):
            product = compute_here(asked["module"], Job(**fields), asked["packages"], asked["mend"])
        files = {name: str(file) for name, file in product.files.items()}
        told = {"files": files, "summary": dict(product.summary), "costs": dict(product.costs)}
    except UserError as error:
        told = {"error": str(error), "unavailable": isinstance(error, UnavailableError)}
    write_atomically(Path(asked["answer"]), json.dumps(told, allow_nan=False))


def _end_with_parent() -> None:
    """Standard input ends when the process that started this one does."""
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
