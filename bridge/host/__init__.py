"""The engine's side of one worker: its session, its calls, output, checkpoints and signs of life."""
