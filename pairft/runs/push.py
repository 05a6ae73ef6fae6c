"""Upload a model folder to the Hub: only where that was asked for, and as a private repository unless --public says
otherwise."""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

from pairft import __version__, disk
from pairft.config import Config
from pairft.data import hub
from pairft.data.retries import with_retries
from pairft.errors import UserError
from pairft.output import say

LOGIN = "log in with hf auth login, or set HF_TOKEN"


def check_config(config: Config) -> None:
    """Before training: raise UserError if --push-to-hub can't work. A resumed run is only warned: it loses nothing."""
    if config.push_to_hub is None:
        return
    try:
        repository = check(config.push_to_hub)
    except UserError as error:
        if not config.resume:
            raise UserError(
                f"--push-to-hub {config.push_to_hub}: {error}; or leave the flag out and upload later"
            ) from None
        say(f"warning: --push-to-hub {config.push_to_hub}: {error}")
    else:
        say(f"after training, best/ will be uploaded to {hub.shown_endpoint()}/{repository}")


def check(name: str) -> str:
    """The full name of the repository. Raises UserError if the Hub can't be reached, or doesn't let the user write."""
    if not hub.reachable():
        why = "HF_HUB_OFFLINE is set" if hub.offline() else f"{hub.shown_endpoint()} can't be reached"
        raise UserError(f"{why}: restore the connection")
    from huggingface_hub import HfApi, get_token

    if get_token() is None:
        raise UserError(f"there is no access token for {hub.shown_endpoint()}: {LOGIN}")
    who = asked(lambda: HfApi().whoami())
    if who.get("auth", {}).get("accessToken", {}).get("role") == "read":
        raise UserError(f"the access token of {who['name']} can only read: {LOGIN} with one that can write")
    owner, _, short = name.rpartition("/")
    organisations = {found.get("name") for found in who.get("orgs", [])}
    if owner and owner not in {who["name"], *organisations}:
        say(f"warning: {who['name']}, whose access token is used, may not be allowed to write to {owner}")
    return f"{owner or who['name']}/{short}"


def asked(request: Any) -> Any:
    """What the Hub answers to a request of its client, which is repeated if that may help. Raises UserError."""
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return with_retries(request)
    except Exception as error:  # whatever has gone wrong at the Hub, the model is trained
        status = getattr(getattr(error, "response", None), "status_code", None)
        text = error.server_message if isinstance(error, HfHubHTTPError) and error.server_message else str(error)
        line = next((line.strip(' "') for line in text.splitlines() if line.strip()), type(error).__name__)
        if status in (401, 403):
            raise UserError(f"{hub.shown_endpoint()} refuses the access token ({line}): {LOGIN}") from error
        raise UserError(f"{hub.shown_endpoint()} answers: {line}") from error


def upload(folder: Path, name: str, public: bool = False) -> str:
    """Upload a model folder as one commit. Returns its address. Raises UserError; the folder stays as it is."""
    repository = check(name)
    from huggingface_hub import HfApi
    from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

    if not sys.stderr.isatty():
        disable_progress_bars()
    api = HfApi()
    existed = asked(lambda: api.repo_exists(repository))
    url = str(asked(lambda: api.create_repo(repository, private=not public, exist_ok=True)))
    if existed:
        kind = "private" if asked(lambda: api.model_info(repository)).private else "public"
        if (kind == "public") != public:
            say(f"note: {url} existed before and stays {kind}")
    asked(
        lambda: api.upload_folder(
            repo_id=repository,
            folder_path=folder,
            commit_message=f"Upload a model trained with pairft {__version__}",
            ignore_patterns=[".*"],
        )
    )
    return url


def upload_trained(folder: Path, name: str) -> None:
    """Upload the best model of a finished run. If that fails, a warning says how to do it later: the run stays
    finished."""
    try:
        url = upload(folder, name)
    except (UserError, OSError) as error:
        say(f"warning: {folder} was not uploaded: {error}")
        say(f"upload it later with: {command(folder, name)}")
    else:
        say(f"uploaded: {url}")


def command(folder: Path, name: str) -> str:
    """The shell command that uploads a model folder, from the same working directory."""
    return shlex.join(["python", "-m", "pairft.push", "--model", os.path.relpath(folder), "--name", name])


def check_folder(model: str) -> Path:
    """The model folder. Raises UserError if it isn't one."""
    folder = disk.expanded(model)
    for file in ("config.json", "model.safetensors"):
        if not (folder / file).is_file():
            what = f"has no {file}" if folder.is_dir() else "doesn't exist"
            raise UserError(f"--model {model} {what}: name a run's best or last folder")
    return folder
