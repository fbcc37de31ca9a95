-- Version 12: large values lie in blobs. The indexes are those of SQLite's 0016.

-- Data that begins with the mark of a reference, of whatever program's, is told from one by '='.
UPDATE promises SET param_data = '@=' || param_data WHERE substr(param_data, 1, 1) = '@';
UPDATE promises SET value_data = '@=' || value_data WHERE substr(value_data, 1, 1) = '@';
UPDATE signals SET data = '@=' || data WHERE substr(data, 1, 1) = '@';

-- The blobs that rows refer to: '@', then the blob's address.
CREATE INDEX promises_param_blob ON promises (substr(param_data, 2, 64)) WHERE substr(param_data, 1, 1) = '@';
CREATE INDEX promises_value_blob ON promises (substr(value_data, 2, 64)) WHERE substr(value_data, 1, 1) = '@';
CREATE INDEX signals_blob ON signals (substr(data, 2, 64)) WHERE substr(data, 1, 1) = '@';
