"""The few questions that are asked of a cluster's job server, with its errors told as the user should read them."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kpmodels.addresses import shown
from kpmodels.errors import UserError
from kpmodels.jobs.request import VARIABLE, Request

PATIENCE = 120.0  # seconds that the job server may be away while a job is followed
ENTRY = "python -P -m kpmodels.jobs.entry"  # -P: the folder that Ray was started in is no place of code


@dataclass(frozen=True)
class JobInfo:
    """
    Attributes:
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        message: Ray's words about it.
        folder: Of the run that the job trains, as its submitter noted it.
    """

    status: str
    message: str = ""
    folder: str = ""

    @property
    def ended(self) -> bool:
        return self.status in ("STOPPED", "SUCCEEDED", "FAILED")


class Jobs(Protocol):
    """A job server."""

    def info(self, job: str) -> JobInfo | None: ...

    def log(self, job: str) -> str: ...

    def submit(self, job: str, request: Request, package: Path) -> bool: ...

    def stop(self, job: str) -> None: ...


@dataclass
class RayJobs:
    """The job server of a Ray cluster.

    Args:
        address: Of the cluster's dashboard, ``http://head:8265``. With token authentication the token comes from
            ``RAY_AUTH_TOKEN``, ``RAY_AUTH_TOKEN_PATH`` or Ray's own file.

    Raises:
        UserError: it cannot be reached, refuses the token, or lacks the packages that serve jobs.
    """

    address: str
    patience: float = PATIENCE
    _client: Any = field(init=False)

    def __post_init__(self) -> None:
        if not self.address.startswith(("http://", "https://")):
            raise UserError(f"{shown(self.address)} is no address of a job server", "name it as http://head:8265")
        _prepare_environment(self.address)
        from ray.job_submission import JobSubmissionClient

        try:
            self._client = JobSubmissionClient(self.address)
        except Exception as error:
            raise self._explained(error) from None

    def info(self, job: str) -> JobInfo | None:
        """What is known of a job; None: there is none of that name."""
        details = self._patiently(self._client.get_job_info, job)
        if details is None:
            return None
        return JobInfo(str(details.status), details.message or "", (details.metadata or {}).get("folder", ""))

    def log(self, job: str) -> str:
        """All that the job printed so far; empty while its node is not ready to tell."""
        try:
            return str(self._patiently(self._client.get_job_logs, job) or "")
        except RuntimeError:
            return ""

    def submit(self, job: str, request: Request, package: Path) -> bool:
        """Start a job; False where there is one of that name."""
        variables = {VARIABLE: request.to_json(), "RAY_USAGE_STATS_ENABLED": "0", "PYTHONUNBUFFERED": "1"}
        if os.environ.get("KP_RAY_LOGS"):
            variables["KP_RAY_LOGS"] = os.environ["KP_RAY_LOGS"]
        try:
            self._client.submit_job(
                entrypoint=ENTRY,
                submission_id=job,
                runtime_env={"py_modules": [str(package)], "env_vars": variables},
                metadata={"run": request.run, "folder": request.folder},
            )
        except Exception as error:
            if "already exists" in str(error):
                return False
            raise self._explained(error) from None
        return True

    def stop(self, job: str) -> None:
        try:
            self._client.stop_job(job)
        except Exception as error:
            raise self._explained(error) from None

    def _patiently(self, ask: Any, job: str) -> Any:
        """The answer, or None where the server knows no such job; while it cannot be reached, ask again for a time."""
        end = time.monotonic() + self.patience
        while True:
            try:
                return ask(job)
            except (ConnectionError, OSError) as error:  # those of `requests` are OSErrors
                if time.monotonic() > end:
                    raise self._explained(error) from None
                time.sleep(2)
            except RuntimeError as error:
                if "status code 404" in str(error):
                    return None
                raise

    def _explained(self, error: Exception) -> UserError:
        reason = " ".join(str(error).split())[:300].replace(self.address, shown(self.address))
        if type(error).__name__ == "AuthenticationError" or "status code 401" in reason or "status code 403" in reason:
            return UserError(
                f"the Ray cluster at {shown(self.address)} refuses the token",
                "set RAY_AUTH_MODE=token and the cluster's own RAY_AUTH_TOKEN (or RAY_AUTH_TOKEN_PATH)",
            )
        return UserError(
            f"the Ray job server at {shown(self.address)}: {reason}",
            "check that the head runs and was started with its dashboard (pip install 'ray[default]' there)",
        )


def _prepare_environment(address: str) -> None:
    """What Ray reads when it is imported. It would prefer addresses of the environment to the one that it is given."""
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.setdefault("RAY_AUTH_MODE", "token")
