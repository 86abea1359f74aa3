"""Does docdb answer as MongoDB does? The conformance cases, their adapter and their marks."""
