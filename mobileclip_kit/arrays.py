"""Names for the arrays that pass between packages."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Embeddings, (n, d); unit rows unless a docstring says otherwise.
Vectors = NDArray[np.float32]
# RGB images, (n, height, width, 3) or one (height, width, 3), 0…255.
Pixels = NDArray[np.uint8]
# Token ids, (n, context_length): start, text, end, padding.
Ids = NDArray[np.int64]
