"""The Hugging Face hub, asked politely: what is in its cache, whether it answers at all, and one file from it.

huggingface_hub retries an unreachable hub for three quarters of a minute. Here a file that is already cached is used
without any request; otherwise one short question comes first, and a hub that does not answer is an error at once.
Nothing is fetched without a log line that says what and from where.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

log = logging.getLogger(__name__)

PROBE_SECONDS = 3.0


class HubUnavailable(Exception):
    """A file that is neither cached nor to be had from the hub; the message is the reason, in a few words."""


class NotOnHub(HubUnavailable):
    """The hub answered: the repository has no such file."""


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

    Raises HubUnavailable within `PROBE_SECONDS` when the hub does not answer, and at once under HF_HUB_OFFLINE=1;
    NotOnHub when it does and has none of them.
    """
    if cached := cached_file(repo, filenames):
        return cached
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HFValidationError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise HubUnavailable("not in the local cache, and HF_HUB_OFFLINE is set")
    if not answers(constants.ENDPOINT):
        raise HubUnavailable(f"not in the local cache, and {constants.ENDPOINT} does not answer")
    for filename in filenames:
        log.info("fetching %s from %s/%s", filename, constants.ENDPOINT, repo)
        try:
            return Path(hf_hub_download(repo, filename))
        except HFValidationError as error:
            raise HubUnavailable(f"{repo!r} is not a name the hub knows (ORGANISATION/MODEL)") from error
        except LocalEntryNotFoundError as error:
            raise HubUnavailable(f"not in the local cache, and {constants.ENDPOINT} stopped answering") from error
        except EntryNotFoundError:
            log.debug("%s has no %s", repo, filename)
        except OSError as error:  # every HTTP error of huggingface_hub is one
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            raise HubUnavailable(f"not in the local cache, and the hub refused: {reason}") from error
    raise NotOnHub(f"the hub's {repo} has none of: {', '.join(filenames)}")


def answers(endpoint: str, seconds: float | None = None) -> bool:
    """Whether anything answers at `endpoint` within `seconds` (PROBE_SECONDS unless given).

    The question is put in a thread because a name server that is not there holds a request longer than any timeout.
    """
    seconds = PROBE_SECONDS if seconds is None else seconds
    answered = threading.Event()
    over = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(endpoint, method="HEAD"), timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # a refusal is an answer
        except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: no URL at all
            # Certificates are the download's affair (it may know other authorities than Python does): someone is there.
            if isinstance(getattr(error, "reason", None), ssl.SSLError):
                answered.set()
        finally:
            over.set()

    threading.Thread(target=ask, name="hub probe", daemon=True).start()
    over.wait(seconds)
    return answered.is_set()


def cached_repos() -> Iterator[tuple[str, frozenset[str]]]:
    """(repository, names of its cached top-level files) for every model in the local cache, by name."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    if not cache.is_dir():
        return
    for folder in sorted(cache.glob("models--*--*")):
        names = frozenset(path.name for path in folder.glob("snapshots/*/*") if path.exists())
        yield folder.name.removeprefix("models--").replace("--", "/"), names
