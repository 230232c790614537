"""What touches sockets."""
