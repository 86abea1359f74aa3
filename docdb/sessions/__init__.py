"""What a collection speaks to: operations and the session that carries them out."""
