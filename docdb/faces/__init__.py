"""What the faces share: arguments, conditions, cursors, results, models, bulk requests."""
