"""Model folders of Hugging Face's hub over plain HTTPS: a question for each file, then downloads that are verified.

A folder keeps `source.json`: which commit its files are of, and what the hub says of each (sha256 for large files,
git's name for small ones, bytes). A later call goes on with that commit, or finds everything there and asks nobody.
The login and the cache of Hugging Face's own library serve here too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import urllib.parse
from email.message import Message
from pathlib import Path
from typing import Any

from resnets.data.fetch import LARGEST, ask, fetch, locked
from resnets.errors import FetchError
from resnets.weights.worlds.torch.folder import DOCUMENTS, WEIGHTS
from resnets.whole import whole, write_json

HUB = "https://huggingface.co"
CONFIG, EXTRA = DOCUMENTS["config"], DOCUMENTS["preprocessor"]
RECORD = "source.json"


def fetch_folder(repository: str, revision: str, folder: Path, hint: str = "", brief: bool = False) -> Path:
    """Download configuration and weights of ``owner/name`` into ``folder``, unless they lie there already.

    ``HF_ENDPOINT`` names another hub (a mirror); ``HF_TOKEN`` is sent to that host and to no other, the token of a
    login with Hugging Face's own tools to Hugging Face alone. Weights that lie in the cache of those tools are copied
    from there, if they are what the hub has. ``hint`` ends the error about a repository that is not there; ``brief`` is
    as for `fetch`.

    Raises FetchError: it did not arrive; the message says why, and where copies of the files can be put by hand.
    """
    record = folder / RECORD
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(record):
            if not record.exists():
                if (folder / CONFIG).exists() and any((folder / name).exists() for name in WEIGHTS):
                    return folder  # put there by hand
                write_json(record, _ask_for_all(repository, revision, folder, hint, brief))
    except OSError as error:
        raise FetchError(
            f"{folder} cannot be written: {error.strerror}; free some space, or set RESNETS_HOME to a folder that "
            "can be written."
        ) from error
    try:
        source = json.loads(record.read_text(encoding="utf-8"))
        commit, files = str(source["commit"]), [(name, dict(about)) for name, about in source["files"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FetchError(f"{record} is damaged: remove it, and the hub is asked again.") from error
    for name, about in files:
        sha256, git = about.get("sha256"), about.get("git")
        if sha256:
            _take(_blobs(repository) / str(sha256), folder / name)
        fetch(
            _address(repository, commit, name),
            folder / name,
            sha256=sha256,
            git=git,
            unchecked=not (sha256 or git),  # a mirror that says nothing
            size=about.get("size"),
            headers=_token(),
            brief=brief,
        )
    return folder


def _ask_for_all(repository: str, revision: str, folder: Path, hint: str, brief: bool) -> dict[str, Any]:
    """What `source.json` holds."""

    def failed(why: str) -> FetchError:
        return FetchError(
            f"{_endpoint()}/{repository} could not be fetched ({why}): try again, or put its {CONFIG} and "
            f"{WEIGHTS[0]} into {folder}.{hint}"
        )

    def headers_of(name: str, commit: str) -> Message | None:
        """None if the repository has no such file."""
        status, headers = ask(_address(repository, commit, name), failed, headers=_token(), brief=brief)
        if status in (401, 403):
            raise failed(
                f"{status}: there is no such repository, or it is not public and neither HF_TOKEN nor a login opens it"
            )
        if status >= 400 and status != 404:
            raise failed(f"the hub answers {status}")
        if status >= 300:
            del headers["ETag"]  # of the redirect, not of the file
        return None if status == 404 else headers

    config = headers_of(CONFIG, revision)
    if config is None:
        raise failed(f"it has no {CONFIG} in revision {revision}")
    said = config.get("X-Repo-Commit", "")
    commit = said if re.fullmatch(r"[0-9a-f]{40}", said) else revision  # a mirror may not say
    found = {CONFIG: config, EXTRA: headers_of(EXTRA, commit)}
    for name in WEIGHTS:
        if (headers := headers_of(name, commit)) is not None:
            found[name] = headers
            break
    else:
        raise failed(f"it has neither {' nor '.join(WEIGHTS)}")
    files = {name: _promise(headers) for name, headers in found.items() if headers is not None}
    if too_large := [name for name, promise in files.items() if promise.get("size", 0) > LARGEST]:
        raise failed(f"its {too_large[0]} is larger than any residual network")
    return {"repository": repository, "revision": revision, "commit": commit, "files": files}


def _promise(headers: Message) -> dict[str, Any]:
    """Size and checksum of a file, as far as the hub says them."""
    size = headers.get("X-Linked-Size", "")
    tag = (headers.get("X-Linked-Etag") or headers.get("ETag") or "").removeprefix("W/").strip('"')
    promise: dict[str, Any] = {"size": int(size)} if size.isdecimal() else {}
    if re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", tag):
        promise["sha256" if len(tag) == 64 else "git"] = tag
    return promise


def _address(repository: str, revision: str, name: str) -> str:
    return f"{_endpoint()}/{repository}/resolve/{urllib.parse.quote(revision, safe='')}/{name}"


def _endpoint() -> str:
    endpoint = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    if not endpoint.startswith(("http://", "https://")):
        raise FetchError(f"HF_ENDPOINT is an address like {HUB}, not {endpoint!r}.")
    return endpoint


def _token() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    if not token and _endpoint() == HUB:
        with contextlib.suppress(OSError, ValueError):  # nobody has logged in, or the file is none of text
            token = _theirs("token", "HF_TOKEN_PATH").read_text(encoding="utf-8").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def _theirs(name: str, variable: str) -> Path:
    """A place of Hugging Face's own library (huggingface_hub/constants.py), by its name and its own variable."""
    home = os.environ.get("HF_HOME") or f"{os.environ.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(os.path.expandvars(os.path.expanduser(os.environ.get(variable) or f"{home}/{name}")))


def _blobs(repository: str) -> Path:
    return _theirs("hub", "HF_HUB_CACHE") / f"models--{repository.replace('/', '--')}" / "blobs"


def _take(blob: Path, place: Path) -> None:
    """Copy a file of Hugging Face's cache, where a file is called by its checksum, which nobody has compared so far.

    What goes wrong here is no matter: the file is downloaded then.
    """
    with contextlib.suppress(OSError):
        if not place.exists():
            with open(blob, "rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() == blob.name:
                    file.seek(0)
                    with whole(place) as copy:
                        shutil.copyfileobj(file, copy)
