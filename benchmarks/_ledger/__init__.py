"""What `benchmarks/ledger.py` measures, each cell in a process of its own."""
