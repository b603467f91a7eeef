"""How a model whose weights are not there is reported."""


class MissingWeights(RuntimeError):
    """Weights are neither here nor to be had; the message says where they are, and what works without them."""
