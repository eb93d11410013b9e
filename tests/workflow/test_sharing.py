"""One study on two machines that share nothing but object storage."""

from __future__ import annotations

from pathlib import Path

import pytest
from store.object_storage import KEY, PUBLIC, READER, SECRET
from workflow.harness import Workspace, checkout, printed, small_study

from maxact.store.exchange import NOT_GIVEN

FIGURE = "reports/small/figures/global_maxima.pdf"


def test_a_fresh_checkout_has_a_figure_from_object_storage_alone(
    workspace: Workspace, storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One machine pushes its results, then makes one more, in the middle of which its credentials end: the run says so in its
    last line and by its exit code, and `maxact push` gives the rest. A reviewer without credentials computes nothing."""
    url = f"s3://{PUBLIC}/study"
    monkeypatch.setenv("MAXACT_REMOTE", url)
    assert "results of this store" in workspace.maxact("push")
    workspace.study["figures"]["overrides"] = {"global_maxima": {"font_size": 9.5}}
    with monkeypatch.context() as ending:
        credentials_until(workspace.folder / "artifacts" / "journal.jsonl", tmp_path, ending)
        run = workspace.snakemake(FIGURE, check=False)
    assert (run.returncode, run.computed) == (NOT_GIVEN, ["figures/global_maxima"])
    assert "figures/global_maxima is made but not given to others" in run.output
    assert run.output.splitlines()[-1].startswith(
        f"error: 1 result is finished and in artifacts, but not at {url}: access is refused ("
    )
    assert run.output.endswith("; when that is mended, `maxact push` gives it\n")
    assert (workspace.folder / FIGURE).exists()
    assert "results of this store" in workspace.maxact("push")

    for name in ("MAXACT_REMOTE", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    (tmp_path / "reviewer").mkdir()
    reviewer = Workspace(checkout(tmp_path / "reviewer"), workspace.study)
    monkeypatch.setenv("MAXACT_MIRROR", f"s3://{PUBLIC}/nothing-here")
    refused = reviewer.snakemake(FIGURE, check=False)
    assert refused.returncode != 0
    assert "so it is no store of artifacts; mend it" in refused.output
    assert refused.started == []
    monkeypatch.setenv("MAXACT_MIRROR", url)
    run = reviewer.snakemake(FIGURE)
    assert (run.computed, run.forward_passes) == ([], 0)
    assert (reviewer.folder / FIGURE).read_bytes() == (workspace.folder / FIGURE).read_bytes()
    assert list((reviewer.folder / "artifacts" / "objects").glob("*/*.safetensors")) == []


def credentials_until(file: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that are asked for anew for each request, and that may not write any more once `file` has grown."""
    program = folder / "credentials.sh"
    program.write_text(f"""\
key={KEY}
test $(stat -c %s {file}) = {file.stat().st_size} || key={READER}
end=$(date -u -d '+5 minutes' +%FT%TZ)
echo '{{"Version": 1, "AccessKeyId": "'$key'", "SecretAccessKey": "{SECRET}", "Expiration": "'$end'"}}'
""")
    (folder / "aws").write_text(f"[default]\ncredential_process = sh {program}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "aws"))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)


@pytest.mark.slow
def test_two_machines_at_once_compute_nothing_twice(
    storage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each runs the study whole. Weights are not given, so each makes those that it reads."""
    monkeypatch.setenv("MAXACT_REMOTE", f"s3://{PUBLIC}/both")
    machines = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        machines.append(Workspace(checkout(tmp_path / name), small_study()))
    running = [machine.start() for machine in machines]
    outputs = printed(running)
    for process, output in zip(running, outputs, strict=True):
        assert process.returncode == 0, output
    assert any("is at it, by its clock since" in output for output in outputs)
    computed = [line for machine in machines for line in machine.journal() if line["stage"] != "checkpoint"]
    assert {line["stage"] for line in computed} > {"corpus", "tokens", "measure", "quantize", "results", "figures"}
    assert len(computed) == len({line["key"] for line in computed})
    one, two = (machine.folder / "reports" / "small" for machine in machines)
    files = [path.relative_to(one) for path in one.rglob("*") if path.is_file() and path.name != "report.html"]
    assert [path for path in files if (one / path).read_bytes() != (two / path).read_bytes()] == []
