"""Several processes share a card here, this one among them: none may take all of its memory."""

import os

os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
