"""M is the largest |x| over the paper's components; ties go to the first site in forward order, and are told."""

from __future__ import annotations

import pandas as pd

from maxact.measure.headline import headline
from maxact.measurement import Measurement

EMPTY = pd.DataFrame()


def of(rows: list[tuple[str, int | None, float | None]]) -> Measurement:
    """A measurement whose sites have these components, layers and signed peaks."""
    sites = pd.DataFrame(
        [
            {
                "site": number,
                "component": component,
                "layer": layer,
                "peak": None if peak is None else abs(peak),
                "peak_signed": peak,
                "peak_channel": 3,
                "peak_sample": number,
                "peak_position": 1,
            }
            for number, (component, layer, peak) in enumerate(rows)
        ]
    )
    return Measurement(sites, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY)


def test_ties_go_to_the_first_site_and_the_others_are_told() -> None:
    rows: list[tuple[str, int | None, float | None]] = [("embedding", None, 1.0), ("mlp_output", 0, -8.0)]
    rows += [("residual", 0, 8.0), ("residual", 1, -8.0), ("final_norm", None, 2.0)]
    found = headline(of(rows))
    assert found["M"] == {
        "value": 8.0, "signed": -8.0, "component": "mlp_output", "layer": 0, "channel": 3, "sample": 1, "position": 1,
        "ties": [{"component": "residual", "layer": 0}, {"component": "residual", "layer": 1}],
    }  # fmt: skip
    assert found["M_with_gate"] == found["M"]


def test_gates_count_in_one_of_the_two_and_router_logits_in_none() -> None:
    rows = [("router_logits", 0, 99.0), ("gate", 0, 9.0), ("residual", 0, 4.0), ("final_norm", None, None)]
    found = headline(of(rows))
    assert (found["M"]["value"], found["M"]["component"], found["M"]["ties"]) == (4.0, "residual", [])
    assert (found["M_with_gate"]["value"], found["M_with_gate"]["component"]) == (9.0, "gate")


def test_a_component_without_layers_has_none() -> None:
    assert headline(of([("embedding", None, -5.0), ("residual", 0, 1.0)]))["M"]["layer"] is None
