"""The parties of `benchmarks/gateway.py`, each a process of its own: `python -m benchmarks._gateway PARTY …`."""
