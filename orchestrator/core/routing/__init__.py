"""From a request to a plan: who may answer, how well, at what price, in which order, and why."""
