"""Stand between connections and routes: let in what is allowed, within limits, and refuse the rest in a sentence."""
