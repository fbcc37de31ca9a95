"""`durable demo`: a real job, killed again and again, beside the same job left alone."""
