"""The Hugging Face hub: what its cache holds here, whether it can be reached, and one file from it.

huggingface_hub retries an unreachable hub for three quarters of a minute. Here a file that is already cached is used
without any request; otherwise one short question comes first, through the session that also downloads, so that proxy,
certificates and endpoint are the same. A hub that refuses or is not known is an error at once; one that is slow is
waited for. Nothing is fetched without a log line that says what and from where.
"""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..targets.error_lines import first_line

log = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
"""After this long without an answer a log line says that we go on waiting."""
PATIENCE_SECONDS = 30.0
"""After this long a hub counts as out of reach."""


class HubUnavailable(Exception):
    """A file that is neither cached nor to be had from the hub; the message is the reason, in a few words."""


class NotOnHub(HubUnavailable):
    """No such file is published: an answer, which stays the same until somebody publishes one."""


def cached_file(repo: str, filenames: Sequence[str]) -> Path | None:
    """The first of `filenames` that the local cache holds for `repo`; no request is made."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = (try_to_load_from_cache(repo, filename) for filename in filenames)
        return next((Path(path) for path in found if isinstance(path, str)), None)
    except HFValidationError:
        return None


def fetch(repo: str, filenames: Sequence[str]) -> Path:
    """The first of `filenames` that `repo` has, from the cache or from the hub.

    Raises HubUnavailable when the hub cannot be reached (see `why_unreachable`), and at once under HF_HUB_OFFLINE=1;
    NotOnHub when it answers and has none of them.
    """
    if cached := cached_file(repo, filenames):
        return cached
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        raise HubUnavailable("not in the local cache, and HF_HUB_OFFLINE is set")
    if reason := why_unreachable(constants.ENDPOINT):
        raise HubUnavailable(f"not in the local cache, and {constants.ENDPOINT} does not answer ({reason})")
    transport: tuple[type[Exception], ...] = (OSError, *_errors_of(get_session()))
    for filename in filenames:
        log.info("fetching %s from %s/%s", filename, constants.ENDPOINT, repo)
        try:
            return Path(hf_hub_download(repo, filename, etag_timeout=PATIENCE_SECONDS))
        except HFValidationError as error:
            raise HubUnavailable(f"{repo!r} is not a name the hub knows (ORGANISATION/MODEL)") from error
        except LocalEntryNotFoundError as error:
            raise HubUnavailable(f"not in the local cache, and {constants.ENDPOINT} stopped answering") from error
        except EntryNotFoundError:
            log.debug("%s has no %s", repo, filename)
        except transport as error:
            raise HubUnavailable(f"not in the local cache, and the download failed: {first_line(error)}") from error
    raise NotOnHub(f"the hub's {repo} has none of: {', '.join(filenames)}")


def why_unreachable(endpoint: str, patience: float | None = None) -> str | None:
    """None once anything answers at `endpoint`, a refusal included; otherwise why nothing does, in a few words.

    A closed port, an unknown host or a certificate that is not trusted is known at once; anything that is merely slow
    is waited for, at most `patience` seconds (PATIENCE_SECONDS unless given). The question is put in a thread because a
    name server that is not there holds a request longer than any timeout.
    """
    patience = PATIENCE_SECONDS if patience is None else patience
    answers: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    threading.Thread(target=lambda: answers.put(_ask(endpoint, patience)), name="hub probe", daemon=True).start()
    first = min(PROBE_SECONDS, patience)
    try:
        return answers.get(timeout=first)
    except queue.Empty:
        if first < patience:
            log.info("%s has not answered for %.1f s: waiting up to %.0f s for it", endpoint, first, patience)
    try:
        return answers.get(timeout=patience - first)
    except queue.Empty:
        return f"silent for {patience:.1f} s"


def _ask(endpoint: str, seconds: float) -> str | None:
    """One HEAD request through huggingface_hub's session; None for any answer, else the reason."""
    from huggingface_hub.utils import get_session

    errors: tuple[type[Exception], ...] = (OSError, ValueError, ImportError)  # ImportError: a proxy's missing package
    try:
        session: Any = get_session()
        errors += _errors_of(session)
        # A redirection is an answer. requests follows none for HEAD unless asked, httpx as its session was made.
        options = {"follow_redirects": False} if hasattr(session, "follow_redirects") else {}
        session.head(endpoint, timeout=seconds, **options)
    except errors as error:
        return first_line(error)
    return None


def _errors_of(session: Any) -> tuple[type[Exception], ...]:
    """What a session raises beside OSError. By version, huggingface_hub talks through requests, httpx or httpx2."""
    libraries = {kind.__module__.partition(".")[0] for kind in type(session).__mro__}
    found = (getattr(sys.modules[library], name, None) for library in libraries for name in ("HTTPError", "InvalidURL"))
    return tuple(error for error in found if error is not None)


def cached_repos() -> Iterator[tuple[str, frozenset[str]]]:
    """(repository, names of its cached top-level files) for every model in the local cache, by name."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if not cache.is_dir():
        return
    for folder in sorted(cache.glob("models--*--*")):
        names = frozenset(path.name for path in folder.glob("snapshots/*/*") if path.exists())
        yield folder.name.removeprefix("models--").replace("--", "/"), names
