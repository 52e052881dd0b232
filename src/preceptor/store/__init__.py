"""The prompt and label database: what people write, who they are, and the queue they work from."""
