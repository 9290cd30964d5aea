"""Store users, passwords, sessions, tokens and histories in one database, and limit how often people may ask."""
