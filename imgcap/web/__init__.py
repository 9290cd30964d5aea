"""The page, its sign-in and its guard."""
