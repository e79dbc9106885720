"""What a distillation run trains on, and against what: stages, masks, batches, teachers, the supply of each update."""
