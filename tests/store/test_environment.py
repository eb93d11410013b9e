"""A job whose recipe names an environment is computed there; the environment is made on first need, once, or not at all."""

from __future__ import annotations

import importlib.metadata
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from maxact.errors import UserError
from maxact.stages import STAGES, Stage
from maxact.store import environment
from maxact.store.objects import Manifest, Store
from maxact.store.run import run_job

TORCH = importlib.metadata.version("torch").partition("+")[0]


@pytest.fixture(autouse=True)
def _toy_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage that the other process finds too, and no package index."""
    monkeypatch.setitem(STAGES, "first", Stage("store.toy_stage", {}))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)


def checkout_in(folder: Path, lock: str = "") -> Path:
    """Locks of an environment that has torch and, if `lock` is empty, nothing else."""
    (folder / "envs").mkdir(parents=True)
    (folder / "envs" / "ling.txt").write_text(lock, encoding="utf-8")
    (folder / "envs" / "torch.txt").write_text(f"# apart\ntorch=={TORCH}\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkout_in(tmp_path_factory.mktemp("shared") / "checkout")


@pytest.fixture
def checkout(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The environment is made by the first test that needs it."""
    monkeypatch.setattr(environment, "CHECKOUT", shared)
    return shared


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout whose environment nobody has made."""
    folder = checkout_in(tmp_path / "checkout")
    monkeypatch.setattr(environment, "CHECKOUT", folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "artifacts")


def recipe(packages: dict[str, str] | None = None, **parameters: object) -> dict[str, object]:
    return {"parameters": parameters, "code": "c", "packages": packages or {}, "environment": "ling"}


def text_of(store: Store, manifest: Manifest) -> str:
    return store.path(manifest.objects["out.txt"]).read_text()


def test_a_job_is_computed_in_its_environment_with_this_torch(checkout: Path, store: Store) -> None:
    manifest, computed = run_job("first", "a", recipe({"torch": TORCH}, text="PREFIX"), {}, store)
    assert (text_of(store, manifest), computed) == (str(checkout / ".venv-ling"), True)
    assert manifest.summary == {"length": len("PREFIX") + len(str(checkout / ".venv-ling")) - 6}
    assert (environment._site_packages(checkout / ".venv-ling") / "torch").resolve().is_dir()
    assert list(store.root.glob("scratch/*")) == []


def test_what_the_user_may_see_comes_back_as_one_line(checkout: Path, store: Store) -> None:
    with pytest.raises(UserError, match=r"^input\.txt: asked to fail$"):
        run_job("first", "a", recipe(text="x", fail=True), {}, store)
    left_out, _ = run_job("first", "a", recipe(text="x", unavailable=True, optional=True), {}, store)
    assert left_out.summary == {"unavailable": "far: cannot be had"}


def test_a_defect_keeps_its_traceback(checkout: Path, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="first a: its process in the environment 'ling' ended with 1"):
        run_job("first", "a", recipe(text="x", crash=True), {}, store)
    assert "ZeroDivisionError: a defect" in capfd.readouterr().err


def test_the_packages_of_the_environment_are_compared(checkout: Path, store: Store) -> None:
    here = {"numpy": importlib.metadata.version("numpy")}
    with pytest.raises(UserError, match=r"numpy: installed not installed, locked .*; delete .*\.venv-ling"):
        run_job("first", "a", recipe(here, text="x"), {}, store)


def test_a_known_result_needs_no_environment(checkout: Path, store: Store, tmp_path: Path) -> None:
    run_job("first", "a", recipe(text="x"), {}, store)
    moved = shutil.move(checkout / ".venv-ling", tmp_path / "moved")
    try:
        manifest, computed = run_job("first", "a", recipe(text="x"), {}, store)
        assert (text_of(store, manifest), computed) == ("x", False)
        assert not (checkout / ".venv-ling").exists()
    finally:
        shutil.move(moved, checkout / ".venv-ling")


@pytest.mark.parametrize("change", ["envs/ling.txt", "envs/torch.txt"])
def test_a_changed_lock_or_a_torch_that_has_gone_makes_it_anew(change: str, checkout: Path) -> None:
    with environment.ready("ling"):
        assert environment._is_ready("ling")
    lock = checkout / change
    before = lock.read_text()
    lock.write_text(before + "# more\n")
    assert not environment._is_ready("ling")
    lock.write_text(before)
    assert environment._is_ready("ling")
    link = environment._site_packages(checkout / ".venv-ling") / "torch"
    there = link.readlink()
    link.unlink()
    link.symlink_to("gone")
    assert not environment._is_ready("ling")
    link.unlink()
    link.symlink_to(there)


def test_an_environment_that_cannot_be_made_is_one_line_and_leaves_nothing(bare: Path, store: Store) -> None:
    (bare / "envs" / "ling.txt").write_text(f"nosuchpackage==1.0 --hash=sha256:{'0' * 64}\n", encoding="utf-8")
    with pytest.raises(UserError) as caught:
        run_job("first", "a", recipe(text="x"), {}, store)
    assert "\n" not in str(caught.value)
    assert ".venv-ling: cannot be made from envs/ling.txt (" in str(caught.value)
    assert "nosuchpackage" in str(caught.value)
    assert "see that pip reaches its package index" in str(caught.value)
    assert not (bare / ".venv-ling" / environment.STAMP).exists()
    assert not list(store.root.glob("actions/*"))


def test_an_environment_without_a_lock_is_refused(bare: Path, store: Store) -> None:
    (bare / "envs" / "ling.txt").unlink()
    with pytest.raises(UserError, match=r"ling\.txt: missing, so the environment 'ling' cannot be made"):
        run_job("first", "a", recipe(text="x"), {}, store)


def _compute(root: Path, name: str, **parameters: str) -> None:
    run_job("first", name, recipe(text=name, **parameters), {}, Store(root))


def until(condition: Callable[[], object]) -> None:
    """Wait for it; the limit only ends a hang, as the environment may have to be made meanwhile."""
    limit = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < limit, "waited in vain"
        time.sleep(0.1)


def ended(process: int) -> bool:
    """Whether it is gone; one that nobody has collected yet is."""
    try:
        return Path("/proc", str(process), "stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_it_ends_with_a_job_that_is_killed(checkout: Path, store: Store, tmp_path: Path) -> None:
    file = tmp_path / "process"
    context = multiprocessing.get_context("fork")
    job = context.Process(target=_compute, args=(store.root, "a"), kwargs={"wait": str(file)})
    job.start()
    until(lambda: file.exists() and file.read_text())
    assert not ended(int(file.read_text()))
    job.kill()
    job.join()
    until(lambda: ended(int(file.read_text())))
    assert not list(store.root.glob("actions/*"))


def test_jobs_at_once_make_it_once(bare: Path, store: Store, capfd: pytest.CaptureFixture[str]) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_compute, args=(store.root, name)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len(list(store.root.glob("actions/*"))) == 3
    assert capfd.readouterr().err.count("making") == 1
