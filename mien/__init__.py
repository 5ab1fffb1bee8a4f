"""mien: perceived facial expressions, learned from ambiguous crowd annotations."""

import os

__version__ = "0.1.0"

# ONNX Runtime sends usage data and writes a device id unless told not to before it is first imported; huggingface_hub,
# which timm imports, counts its calls.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
