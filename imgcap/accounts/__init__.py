"""Users, their passwords, sessions, allowances and histories, in one database."""
