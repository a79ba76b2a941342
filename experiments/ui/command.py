"""Print a link for each MLflow experiment that has runs; then become the server of the UI."""

import os
import subprocess
import sys

import mlflow

from experiments.ui.config import UiConfig
from harness.tracking import view
from harness.tracking.store import store_errors, store_lock


def main(config: UiConfig) -> None:
    """Print the links, and serve the store, unless a tracking server does so already."""
    uri = mlflow.get_tracking_uri()
    with store_errors(), store_lock():
        links = {
            each.name: view.runs_url(each.experiment_id)
            for each in mlflow.search_experiments()
            if mlflow.search_runs([each.experiment_id], max_results=1, output_format="list")
        }
    for name, link in links.items():
        print(f"{name:20} {link.replace(view.LOCAL_ADDRESS, f'http://localhost:{config.port}')}")
    if not links:
        print("There are no runs yet.")
    if uri.startswith("http"):
        return
    sys.stdout.flush()
    server = [sys.executable, "-m", "mlflow", "ui", "--port", str(config.port)]
    server += ["--backend-store-uri", uri]
    if sys.platform == "win32":  # where a shell does not wait for what takes a process's place
        sys.exit(subprocess.call(server))
    os.execv(sys.executable, server)
