"""docdb: a document database that lives inside a Python process."""
