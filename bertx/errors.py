"""What the user can mend, and why a model or a data set could not be loaded, in one line."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

RepoType = Literal["model", "dataset"]

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?")
_CONFIGURATIONS = re.compile(r"[Aa]vailable(?: configs)?: \[(.*?)\]")
_FORBIDDEN = re.compile(r"GLOBAL ([\w.]*\w)")
_DAMAGED = re.compile("not a valid JSON|PytorchStreamReader|Expected to be able to read")
_BROKEN = (
    "SafetensorError", "JSONDecodeError", "UnicodeDecodeError", "UnpicklingError", "EOFError",
    "ArrowInvalid",
)  # fmt: skip
_OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_UNREACHED = ("ConnectError", "ConnectTimeout", "ReadTimeout", "ConnectionError", "ReadError")


class InputError(ValueError):
    """Data, a name or a setting that cannot be used.

    The message says what was expected, what came (with the file, line or value) and what to do.
    Settings stand in it as fields in backquotes. The command line prints it without a traceback,
    with an option in place of each field.
    """


def check_positive(**settings: int | None) -> None:
    """Raise `InputError` for a setting that is neither None nor a whole number of at least 1."""
    for name, value in settings.items():
        if value is not None and not (isinstance(value, int) and value >= 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def why(error: BaseException, name: str = "", kind: RepoType = "model") -> str | None:
    """What is known of an error of the hub, a file or the disk.

    Args:
        error: What was raised. Its causes are looked through, the innermost of which often is all
            that says anything.
        name: What should have been loaded: a hub id, or the path of something.
        kind: What that is.

    Returns:
        A reason and what to do, without a full stop, or None if it is none of those known.
    """
    links = list(causes(error))
    shared = _disk(links) or _more_than_weights(links) or _own_code(links, kind)
    if shared or not is_hub_id(name):
        return shared
    return (
        _gated(links, name, kind)
        or _configurations(links, name)
        or _offline(links, name, kind)
        or _unknown(links, kind)
        or _unanswered(links)
        or _damaged(links, name, kind)
    )


def one_line(error: BaseException) -> str:
    """The first line of what an error says, and that of its innermost cause if it says more."""
    links = list(causes(error))
    outer, inner = first_line(links[0]), first_line(links[-1])
    return outer if inner in outer or not str(links[-1]).strip() else f"{outer} ({inner})"


def first_line(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    lines = iter(str(error).strip().splitlines())
    return next(lines, type(error).__name__).strip().rstrip(".")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what led to it, as a traceback shows them, the innermost last."""
    while error is not None:
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def out_of_space(error: BaseException) -> str | None:
    """That a disk is full, if it is: a reason and what to do, without a full stop."""
    for link in causes(error):
        full = isinstance(link, OSError) and link.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or re.search("No space left|[Nn]ot enough disk space", str(link)):
            where = getattr(link, "filename", None)
            return (
                f"the disk is full{f' ({where})' if where else ''}. Free some space, or set "
                "HF_HOME (downloads) and TMPDIR (temporary files) to folders of another disk"
            )
    return None


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the hub, and is no folder or file here."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def _disk(links: Sequence[BaseException]) -> str | None:
    for link in links:
        if isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"{link.filename or 'a file'}: {link.strerror}. Set HF_HOME to a folder of yours"
    return out_of_space(links[0])


def _more_than_weights(links: Sequence[BaseException]) -> str | None:
    names = {name for link in links for name in _FORBIDDEN.findall(str(link))}
    if not names or not any(type(link).__name__ == "UnpicklingError" for link in links):
        return None
    return (
        f"it is a pickle of more than weights ({', '.join(sorted(names))}), which could run any "
        "code and is not read. Ask its owner for safetensors"
    )


def _own_code(links: Sequence[BaseException], kind: RepoType) -> str | None:
    if not any(re.search("custom code|trust_remote_code|Dataset scripts", str(e)) for e in links):
        return None
    other = "a model whose architecture transformers has"
    other = other if kind == "model" else "one of Parquet, CSV or JSON files"
    return f"it needs Python code of its own, which is never run. Choose {other}"


def _gated(links: Sequence[BaseException], name: str, kind: RepoType) -> str | None:
    refused = (type(e).__name__ == "GatedRepoError" or "a gated dataset" in str(e) for e in links)
    if not any(refused):
        return None
    return (
        f"it is gated: ask for access at {_page(name, kind)}, then log in with: hf auth login (or "
        "set HF_TOKEN)"
    )


def _configurations(links: Sequence[BaseException], name: str) -> str | None:
    match = next((m for link in links if (m := _CONFIGURATIONS.search(str(link)))), None)
    if match is None:
        return None
    listed = re.sub("['\"]", "", match[1])
    first = listed.split(",")[0]
    return f"expected one of its configurations ({listed}), as in {name}:{first}"


def _offline(links: Sequence[BaseException], name: str, kind: RepoType) -> str | None:
    from huggingface_hub import constants

    raised = any("OfflineModeIsEnabled" in f"{type(link).__name__} {link}" for link in links)
    missed = any(type(link).__name__ == "LocalEntryNotFoundError" for link in links)
    if not raised and not (missed and constants.is_offline_mode()):
        return None
    variable = next((name for name in _OFFLINE if os.environ.get(name)), _OFFLINE[0])
    option = "" if kind == "model" else " --repo-type dataset"
    return (
        f"{variable} is set, and the cache ({constants.HF_HUB_CACHE}) does not have it. Unset "
        f"{variable}, or download it where there is a network: hf download {name}{option}"
    )


def _unknown(links: Sequence[BaseException], kind: RepoType) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    missing = (isinstance(link, RepositoryNotFoundError) for link in links)
    if not any(missing) and "doesn't exist on the Hub" not in str(links[0]):
        return None
    return (
        f"{constants.ENDPOINT} has no such {'model' if kind == 'model' else 'data set'}, or it is "
        "private. Check the name; to see private ones: hf auth login"
    )


def _unanswered(links: Sequence[BaseException]) -> str | None:
    from huggingface_hub import constants

    statuses = [getattr(getattr(link, "response", None), "status_code", 0) for link in links]
    failed = next((status for status in statuses if status >= 429), None)
    unreached = [link for link in links if type(link).__name__ in _UNREACHED]
    if failed is None and not unreached:
        return None
    reason = first_line(unreached[-1]) if failed is None else f"it answers with status {failed}"
    return (
        f"no answer from {constants.ENDPOINT} ({reason}). Check the network; HF_HUB_OFFLINE=1 uses "
        "what has been downloaded before"
    )


def _damaged(links: Sequence[BaseException], name: str, kind: RepoType) -> str | None:
    """A file that came from the hub and cannot be read; tokenizers raises bare exceptions."""
    for link in links:
        broken = type(link).__name__ in _BROKEN or type(link) is Exception
        if (broken or _DAMAGED.search(str(link))) and (folders := _cached(name, kind)):
            return (
                f"a file in the cache is damaged: {first_line(link)}. Delete it, and it is "
                f"downloaded again: rm -r {' '.join(folders)}"
            )
    return None


def _cached(name: str, kind: RepoType) -> list[str]:
    """Where the caches keep a repository."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    folders = [Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=name, repo_type=kind))]
    if kind == "dataset":
        from datasets import config
        from datasets.naming import camelcase_to_snakecase

        owner, _, short = name.rpartition("/")
        prepared = f"{owner}___{camelcase_to_snakecase(short)}"
        folders.append(Path(config.HF_DATASETS_CACHE, prepared))
    return [str(folder) for folder in folders if folder.is_dir()]


def _page(name: str, kind: RepoType) -> str:
    from huggingface_hub import constants

    return f"{constants.ENDPOINT}/{'datasets/' if kind == 'dataset' else ''}{name}"
