"""Feeds: what is told of every commit. See ``streams`` (change streams), ``live`` (live queries), ``hub`` (who wakes them)."""
