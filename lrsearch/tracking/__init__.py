"""Trackers: callbacks that tell TensorBoard, MLflow or Weights & Biases of every epoch.

A study file names them, `[workers] callbacks = ["lrsearch.tracking:tensorboard"]`, or
`lrsearch.optimize(…, callbacks=[lrsearch.tracking.tensorboard])`. Each run of a trial is a run
there too, named `trial-0003-run-1`. The libraries are imported when they are asked for.
"""

from lrsearch.tracking.mlflow_tracker import mlflow
from lrsearch.tracking.tensorboard_tracker import tensorboard
from lrsearch.tracking.wandb_tracker import wandb
