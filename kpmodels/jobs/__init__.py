"""Training on a cluster: a Ray job that outlives whoever submitted it. What decides the result is in ``training``."""
