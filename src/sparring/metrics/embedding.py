"""The diversity of a prompt's samples in meaning."""

from __future__ import annotations

import numpy as np

from sparring.metrics.held_out import Estimate, HeldOut


def embedding_distance(held_out: HeldOut) -> dict[str, Estimate]:
    """The mean distance of a prompt's samples in meaning, `embedding_distance`: 1 − cos(e_i, e_j) over pairs.

    e is the sentence embedding of a sample's text. In [0, 2]; the higher, the more diverse. A text without an embedding
    (all zeros) is at distance 1 from every other. Nothing without an embedder, or with one sample a prompt.
    """
    if held_out.embed is None or not held_out.sampled or len(held_out.sampled[0]) < 2:
        return {}
    distances = []
    for samples in held_out.sampled:
        vectors = np.asarray(held_out.embed([sample.text for sample in samples]), dtype=np.float64)
        unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny)
        one, other = np.triu_indices(len(samples), k=1)
        distances.append(float(1.0 - (unit[one] * unit[other]).sum(axis=1).mean()))
    return {"embedding_distance": Estimate.of(distances)}
