"""Commands about how a model trains: the coordinate check of a parametrization, the time and memory of a step."""
