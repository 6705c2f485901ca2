"""The files by which TF Serving is told what to serve, and how."""

from __future__ import annotations

import re


def model_name(text: str) -> str:
    """A name that URLs and folders take unchanged: letters, digits, `_`, `.` and `-`."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-.") or "model"


def files(name: str) -> dict[str, str]:
    """Files by name, to lie beside the versions of a model.

    Args:
        name: under which the model is served; as `model_name` gives it.
    """
    return {
        "models.config": _MODELS.format(name=name),
        "batching_parameters.txt": _BATCHING,
        "monitoring.config": _MONITORING,
        "compose.yaml": _COMPOSE.format(name=name),
    }


_MODELS = """\
# What tensorflow_model_server serves (--model_config_file). A new version is taken up by itself.
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
  }}
}}
"""

_BATCHING = """\
# How requests of several clients are run as one (--enable_batching --batching_parameters_file).
#
# It pays on a GPU, and for clients that send one face at a time. It has a price: requests that
# run as one fail as one, so a broken file of one client is an error for its neighbours too.
# Without it, and with clients that send several faces in a request, an error stays with the
# request that caused it; compose.yaml therefore leaves it off.
max_batch_size { value: 32 }
batch_timeout_micros { value: 2000 }
max_enqueued_batches { value: 64 }
num_batch_threads { value: 2 }
"""

_MONITORING = """\
# Figures for Prometheus, at http://HOST:8501/monitoring/prometheus/metrics
# (--monitoring_config_file).
prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""

_COMPOSE = """\
# docker compose up, in this folder: gRPC on port 8500, REST on port 8501, of this machine only;
# TF Serving asks no one who they are.
services:
  serving:
    # Of the TensorFlow that exported the model, or newer; end it with -gpu for a GPU.
    image: ${{TF_SERVING_IMAGE:-tensorflow/serving:latest}}
    command:
      - --model_config_file=/models/{name}/models.config
      - --monitoring_config_file=/models/{name}/monitoring.config
      # Read batching_parameters.txt before these two:
      # - --enable_batching
      # - --batching_parameters_file=/models/{name}/batching_parameters.txt
    volumes:
      - .:/models/{name}:ro
    ports:
      - 127.0.0.1:8500:8500
      - 127.0.0.1:8501:8501
    read_only: true
    tmpfs: /tmp
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    restart: unless-stopped
"""
