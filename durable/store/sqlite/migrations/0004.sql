-- Version 4: who gave a checkpoint its label, since code may give any number of them (specs/checkpoint.md, K3).

ALTER TABLE checkpoints ADD COLUMN by_code INTEGER NOT NULL DEFAULT 0;
