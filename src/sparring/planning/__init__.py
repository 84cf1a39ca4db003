"""What a run would cost, before it costs it: tokens, memory, arithmetic and time.

It lies above `sparring.selfplay`, so no check before a run can ask it.
"""
