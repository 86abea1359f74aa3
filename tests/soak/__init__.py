"""Endurance: many processes of mixed work on one database for minutes, watched for what grows."""
