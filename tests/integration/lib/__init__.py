"""What the integration tests share: processes that are watched, a client, the shape of the API."""
