"""A study of recipes by their limits: multiples, sensitivity, compute, weight decay, crossings, distillation, picks."""
