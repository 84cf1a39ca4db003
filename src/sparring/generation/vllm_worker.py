"""An extension of vLLM's worker process; for a server, `--worker-extension-cls` names it."""

from __future__ import annotations

from typing import Any


class HeadRepacking:
    """A mixin that adds a method to vLLM's worker.

    On a CPU vLLM 0.32 multiplies by a packed copy of each weight matrix. `reload_weights` packs the linear layers
    anew, but not the output head of a model that ties it to its embedding: until it is packed again the model answers
    with the old head.
    """

    model_runner: Any

    def repack_head(self) -> None:
        """Packs every embedding and output head again, from the weights that it holds now."""
        for module in self.model_runner.get_model().modules():
            method: Any = getattr(module, "quant_method", None)
            if hasattr(module, "cpu_linear") and hasattr(method, "embedding"):
                method.process_weights_after_loading(module)
