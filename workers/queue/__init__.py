"""The worker's side of the queue: messages in, replies and pieces out, who lives; runs no model itself."""
