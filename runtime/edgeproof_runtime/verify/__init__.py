"""Golden cases replayed, datasets evaluated, accuracy followed hop by hop."""
