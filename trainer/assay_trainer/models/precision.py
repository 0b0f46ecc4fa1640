"""Number formats by their name in `placement.precision`."""

import torch

DTYPES = {"Float32": torch.float32, "BFloat16": torch.bfloat16}
