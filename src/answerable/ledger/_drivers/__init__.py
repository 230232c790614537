"""What the ledger starts outside its own process."""
