"""A store behind a URL: `durable serve`."""
