"""What the client tests share: where a client can go, and running it."""
