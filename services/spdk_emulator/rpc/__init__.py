"""The JSON-RPC side: bytes to requests, the look at the socket, the table of methods and what each accepts."""
