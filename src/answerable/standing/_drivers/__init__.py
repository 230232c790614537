"""Who standing talks to outside the process: git."""
