"""The tokeniser of a teacher: CLIP's own from open_clip, or one of transformers' from files that are already here.

Code that lies beside those files is never run, whatever they ask for.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets.error_lines import first_line
from . import hub
from .architecture import CLIP_WORDS
from .available import alternatives
from .files import TeacherFiles

# A tokeniser of transformers': its settings, then its vocabulary in order of preference.
TOKENIZER_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
LOCAL = "local-dir:"  # open_clip's prefix of a folder
VOCABULARIES = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt")


def load_tokenizer(files: TeacherFiles) -> Any:
    """open_clip's tokeniser for this teacher. One of transformers' is read from a folder, so that it asks nobody."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer, SimpleTokenizer

    text = files.architecture["text_cfg"]
    context = text.get("context_length", DEFAULT_CONTEXT_LENGTH)
    settings = dict(text.get("tokenizer_kwargs") or {})
    try:
        if files.tokenizer_repo is not None:
            folder = _tokenizer_folder(files.tokenizer_repo)
        elif not files.tokenizer.startswith(LOCAL):
            return open_clip.get_tokenizer(files.tokenizer)
        elif not text.get("hf_tokenizer_name"):
            if text.get("vocab_size", CLIP_WORDS) < CLIP_WORDS:  # on a GPU, a word too many ends the process
                raise ValueError(f"text_cfg.vocab_size is {text['vocab_size']}, and CLIP's own has {CLIP_WORDS} words")
            return SimpleTokenizer(context_length=context, **settings)
        else:
            folder = Path(files.tokenizer.removeprefix(LOCAL))
        settings["trust_remote_code"] = False
        return HFTokenizer(str(folder), context_length=context, tokenizer_mode=text.get("tokenizer_mode"), **settings)
    except hub.HubUnavailable as reason:
        raise InputError(
            f"no tokeniser for teacher {files.id}: looked for {' or '.join(VOCABULARIES)} of {files.tokenizer_repo}: "
            f"{reason}",
            alternatives(
                f"put the files of https://huggingface.co/{files.tokenizer_repo} into one folder with the teacher's "
                "and give --teacher local-dir:FOLDER"
            ),
        ) from reason
    except (OSError, ValueError, ImportError, RuntimeError, TypeError, LookupError, AttributeError) as error:
        raise InputError(
            f"the tokeniser of teacher {files.id} does not load: {first_line(error)}",
            "Run pip install transformers and make its tokeniser files available, or choose a teacher with CLIP's own.",
        ) from error


def _tokenizer_folder(repo: str) -> Path:
    """The folder of the hub's cache with the files of a tokeniser, fetched if need be. Raises hub.HubUnavailable.

    The vocabulary comes last, so that where it is, the settings are.
    """
    vocabulary = hub.cached_file(repo, VOCABULARIES)
    if vocabulary is not None:
        return vocabulary.parent
    settings = []
    for name in TOKENIZER_SETTINGS:
        with contextlib.suppress(hub.NotOnHub):
            settings.append(hub.fetch(repo, (name,)))
    folder = hub.fetch(repo, VOCABULARIES).parent
    if any(path.parent != folder for path in settings):
        raise hub.HubUnavailable("its cached files belong to several revisions: delete them from the hub's cache")
    return folder
