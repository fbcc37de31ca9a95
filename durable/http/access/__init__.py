"""The admission of a request: tokens and their roles, hosts and origins, the rate of an address, the audit."""
