"""Running a durable function over its record: the loop, the record, matching, passes."""
