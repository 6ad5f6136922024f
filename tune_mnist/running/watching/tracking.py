"""Where else a run's epochs may go: TensorBoard's event files, an MLflow server."""

from __future__ import annotations

import http.client
import importlib.util
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tune_mnist.spec.errors import UserError, require

if TYPE_CHECKING:
    from ray import tune

    from tune_mnist.running.supervisor import Watch

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where else the epochs go, besides the study."""

    tensorboard: bool = False
    """Write TensorBoard's event files too, one folder per training, in the study's folder tensorboard."""
    mlflow: str | None = None
    """Send every training to MLflow, as a run of an experiment of the study's name: http://HOST:PORT or sqlite:///FILE."""

    def __post_init__(self) -> None:
        uri = self.mlflow
        known = uri is None or re.fullmatch(r"(https?|file|sqlite|postgresql|mysql|databricks)\S*:\S+", uri) is not None
        require(known, "mlflow is a tracking URI", repr(uri), "change --mlflow to http://HOST:PORT or sqlite:///FILE")

    def check(self) -> None:
        """Check that what is asked for is installed and, of a server, that it answers.

        Raises:
            UserError: it is not, or does not.
        """
        for flag, asked, package, extra in (
            ("--tensorboard", self.tensorboard, "tensorboardX", "tensorboard"),
            ("--mlflow", self.mlflow is not None, "mlflow", "mlflow"),
        ):
            if asked and importlib.util.find_spec(package) is None:
                raise UserError(f"{flag} needs {package}: run `pip install 'tune-mnist[{extra}]'`, or leave it out")
        if self.mlflow is not None and self.mlflow.startswith("http"):
            check_http(self.mlflow)

    def callbacks(self, watch: Watch) -> list[tune.Callback]:
        """Tune's callbacks that feed what is asked for from the run that `watch` sees."""
        from tune_mnist.running.watching.trackers import mlflow_tracker, tensorboard_tracker

        trackers: list[tune.Callback] = []
        if self.tensorboard:
            trackers.append(tensorboard_tracker(watch))
        if self.mlflow is not None:
            trackers.append(mlflow_tracker(watch, self.mlflow))
        return trackers


def check_http(url: str) -> None:
    """Raise `UserError` unless something answers HTTP at `url`, whatever it says."""
    parts = urllib.parse.urlsplit(url)
    bare = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()  # urllib takes no name or password in a URL
    try:
        urllib.request.urlopen(bare, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        pass
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"no MLflow server answers at {bare} ({reason}): start it, or change --mlflow") from None
