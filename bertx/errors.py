"""`InputError`, and one-line reasons why a model, data set or file could not be loaded."""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

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

    The message says what was expected, what was given (with the file, line or value) and what to
    do. It names settings as fields in backquotes. The command line prints it without a traceback
    and replaces each field by its option.
    """


class FaultyClass(InputError):
    """A custom method or metric is faulty. This is an error of no text, and ends the call."""


def checked_result(result: Any, where: str, **sizes: int) -> "Tensor":
    """Return what a method or metric computed.

    Args:
        result: The result.
        where: The function that computed it, such as ``Norm.scores``, for the message.
        sizes: The expected shape, as in ``B=2, T=7``.

    Raises:
        FaultyClass: If it is not a tensor of this shape.
    """
    from torch import Tensor

    shape = tuple(sizes.values())
    if isinstance(result, Tensor) and result.shape == shape:
        return result
    kind = f"{type(result).__module__}.{type(result).__qualname__}".removeprefix("builtins.")
    got = tuple(result.shape) if isinstance(result, Tensor) else kind
    raise FaultyClass(
        f"{where}: expected a tensor of shape ({', '.join(sizes)}) = {shape}, got {got}"
    )


def check_positive(**settings: int | None) -> None:
    """Raise `InputError` unless every setting is None or a whole number of at least 1."""
    for name, value in settings.items():
        if value is not None and not (isinstance(value, Integral) and value >= 1):
            raise InputError(f"{name} must be a whole number of at least 1, got {value!r}")


def diagnose(error: BaseException, name: str = "", kind: RepoType = "model") -> str | None:
    """Explain an error of the hub, a file or the disk.

    Args:
        error: The error. Its causes are searched too: often only the innermost is informative.
        name: The hub id or path that was to be loaded.
        kind: Whether ``name`` is a model or a data set.

    Returns:
        The reason and what to do, without a full stop, or None for any other error.
    """
    links = list(causes(error))
    reason = _no_permission(links) or disk_full(error)
    reason = reason or _unsafe_pickle(links) or _custom_code(links, kind)
    if reason or not is_hub_id(name):
        return reason
    return (
        _gated(links, name, kind)
        or _missing_configuration(links, name)
        or _offline(links, name, kind)
        or _not_on_hub(links, kind)
        or _no_answer(links)
        or _damaged(links, name, kind)
    )


def one_line(error: BaseException) -> str:
    """Return the first line of an error, and of its innermost cause if that says more."""
    links = list(causes(error))
    outer, inner = first_line(links[0]), first_line(links[-1])
    return outer if inner in outer or not str(links[-1]).strip() else f"{outer} ({inner})"


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or the name of its class if it has none."""
    lines = iter(str(error).strip().splitlines())
    line = next(lines, type(error).__name__).strip().rstrip(".")
    # The command line turns words in backquotes into options, which other libraries do not mean.
    return line if isinstance(error, InputError) else line.replace("`", "'")


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and its causes, as a traceback shows them, the innermost last."""
    while error is not None:
        yield error
        hidden = error.__suppress_context__
        error = error.__cause__ or (None if hidden else error.__context__)


def disk_full(error: BaseException) -> str | None:
    """Return what to do about a full disk, without a full stop; None if no disk is full."""
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
    """Return whether a name can be a hub id, and is not a local file or folder."""
    return _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def _no_permission(links: Sequence[BaseException]) -> str | None:
    for link in links:
        if isinstance(link, OSError) and link.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                f"{link.filename or 'a file'}: {link.strerror}. Set HF_HOME to a folder that you "
                "can write to"
            )
    return None


def _unsafe_pickle(links: Sequence[BaseException]) -> str | None:
    names = {name for link in links for name in _FORBIDDEN.findall(str(link))}
    if not names or not any(type(link).__name__ == "UnpicklingError" for link in links):
        return None
    return (
        f"its pickle holds more than weights ({', '.join(sorted(names))}) and could run any code, "
        "so it is not loaded. Ask its owner for safetensors"
    )


def _custom_code(links: Sequence[BaseException], kind: RepoType) -> str | None:
    if not any(re.search("custom code|trust_remote_code|Dataset scripts", str(e)) for e in links):
        return None
    model, data = "a model whose architecture transformers has", "one of Parquet, CSV or JSON files"
    return (
        "it needs custom Python code, which is never run. Choose "
        f"{model if kind == 'model' else data}"
    )


def _gated(links: Sequence[BaseException], name: str, kind: RepoType) -> str | None:
    refused = (type(e).__name__ == "GatedRepoError" or "a gated dataset" in str(e) for e in links)
    if not any(refused):
        return None
    return (
        f"it is gated: ask for access at {_page(name, kind)}, then log in with: hf auth login (or "
        "set HF_TOKEN)"
    )


def _missing_configuration(links: Sequence[BaseException], name: str) -> str | None:
    match = next((m for link in links if (m := _CONFIGURATIONS.search(str(link)))), None)
    if match is None:
        return None
    listed = re.sub("['\"]", "", match[1])
    first = listed.split(",")[0]
    return f"expected one of its configurations ({listed}), such as {name}:{first}"


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
        f"{variable}, or download it on a machine with a network: hf download {name}{option}"
    )


def _not_on_hub(links: Sequence[BaseException], kind: RepoType) -> str | None:
    from huggingface_hub import constants
    from huggingface_hub.errors import RepositoryNotFoundError

    missing = (isinstance(link, RepositoryNotFoundError) for link in links)
    if not any(missing) and "doesn't exist on the Hub" not in str(links[0]):
        return None
    return (
        f"{constants.ENDPOINT} has no such {'model' if kind == 'model' else 'data set'}, or it is "
        "private. Check the name; to see private ones: hf auth login"
    )


def _no_answer(links: Sequence[BaseException]) -> str | None:
    from huggingface_hub import constants

    statuses = [getattr(getattr(link, "response", None), "status_code", 0) for link in links]
    failed = next((status for status in statuses if status >= 429), None)
    unreached = [link for link in links if type(link).__name__ in _UNREACHED]
    if failed is None and not unreached:
        return None
    reason = first_line(unreached[-1]) if failed is None else f"it answers with status {failed}"
    return (
        f"no answer from {constants.ENDPOINT} ({reason}). Check the network, or set "
        "HF_HUB_OFFLINE=1 to use earlier downloads"
    )


def _damaged(links: Sequence[BaseException], name: str, kind: RepoType) -> str | None:
    """Explain a file from the hub that cannot be read; tokenizers raises bare exceptions."""
    for link in links:
        broken = type(link).__name__ in _BROKEN or type(link) is Exception
        if (broken or _DAMAGED.search(str(link))) and (folders := _cached(name, kind)):
            return (
                f"a file in the cache is damaged: {first_line(link)}. Delete it to download it "
                f"again: rm -r {' '.join(folders)}"
            )
    return None


def _cached(name: str, kind: RepoType) -> list[str]:
    """Return the folders in which the caches keep a repository."""
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
