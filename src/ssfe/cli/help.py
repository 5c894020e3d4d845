"""What ``ssfe --help`` prints: by itself, for it needs none of the libraries that the commands load."""

from __future__ import annotations

from ssfe import __version__

COMMANDS = ("train", "compare", "evaluate", "predict", "export", "report", "taps", "cost")

HELP = f"""ssfe {__version__}: Self-supervised Feature Enhancement for image classifiers.

  ssfe train [DATA]               train a classifier; without DATA, on embedded digits, in seconds
  ssfe compare [DATA]             train methods side by side, over seeds, and tell what differs
  ssfe evaluate RUN [DATA]        measure a trained model
  ssfe predict RUN IMAGES ...     classify images with it
  ssfe export RUN --format NAME   write it as safetensors, torch-export, onnx or hf (a Hugging Face folder)
  ssfe report FOLDER              show a run or a comparison as one HTML file
  ssfe taps MODEL                 list where a network's features can be disturbed, and at what cost
  ssfe cost [MODEL]               measure what training costs: plain, ssfe, SLA

Each has --help.
"""
