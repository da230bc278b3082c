"""A pytest plugin for an environment without torch: tests of the workshop are left out, all others must pass.

    PYTHONPATH=tests python -m pytest -p without_workshop

The folders of tests that are about the workshop are not looked at. Elsewhere a module or a test is left out when it,
a fixture of it or a file of the workshop asks for torch, timm and the like, or when it is marked `workshop`. When a
file of the light half asks, that is a failure and stays one.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType

import pytest

from edgedistill.cli import WORKSHOP

ROOT = Path(__file__).parents[1]
LIGHT_HALF = (
    *("profiles", "targets", "edgedistill/bench", "edgedistill/devices", "edgedistill/verdict", "edgedistill/work"),
    *(f"edgedistill/{name}.py" for name in ("__init__", "choices", "errors", "labels", "profile_text", "records")),
    *(f"edgedistill/{name}.py" for name in ("runtime", "settings")),
)
WORKSHOPS_TESTS = [ROOT / "tests" / room for room in ("benchmarks", "classes", "distil", "export", "teacher", "tools")]
# At least one test of each has to run: an empty suite would pass as well.
MUST_RUN = {f"tests/{name}.py" for name in ("test_cli", "test_commands", "test_runtime", "targets/test_run")}
_passed: set[str] = set()


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    return True if collection_path in WORKSHOPS_TESTS else None


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _leave_out(report, collector.path, getattr(report, "call", None))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _leave_out(report, item.path, call)
    return report


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("workshop"):
            item.add_marker(pytest.mark.skip("needs the workshop"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _passed.add(report.nodeid.partition("::")[0])


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.exitstatus == pytest.ExitCode.OK and not _passed >= MUST_RUN:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for path in sorted(MUST_RUN - _passed):
        terminalreporter.write_line(f"{path}: no test of it has passed", red=True)


def _leave_out(
    report: pytest.CollectReport | pytest.TestReport, path: Path, call: pytest.CallInfo[None] | None
) -> None:
    missing = _missing_package(call.excinfo.value) if call is not None and call.excinfo else None
    if missing:
        report.outcome = "skipped"
        report.longrepr = (str(path), 0, f"Skipped: needs {missing}")


def _missing_package(error: BaseException) -> str | None:
    """The workshop's package for want of which `error` was raised, unless it was the light half that wanted it."""
    for one in _chain(error):
        name = (one.name or "").partition(".")[0] if isinstance(one, ModuleNotFoundError) else ""
        if name in WORKSHOP and not any(path.startswith(LIGHT_HALF) for path in _files(one.__traceback__)):
            return name
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _files(traceback: TracebackType | None) -> Iterator[str]:
    """The files of this repository that the exception came through, relative to its root."""
    while traceback is not None:
        path = Path(traceback.tb_frame.f_code.co_filename)
        if path.is_relative_to(ROOT):
            yield path.relative_to(ROOT).as_posix()
        traceback = traceback.tb_next
