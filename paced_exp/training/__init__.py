"""What a distillation run trains on, and against what: stages, masks, batches, teachers, the data of each update."""
