"""``python -m kpmodels``: what the stages of ``dvc.yaml`` call."""

from kpmodels.cli import app
from kpmodels.shell import run_app

if __name__ == "__main__":
    run_app(app)
