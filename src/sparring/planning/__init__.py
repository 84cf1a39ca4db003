"""What a run would cost, before it costs it: tokens, memory, arithmetic and time."""
