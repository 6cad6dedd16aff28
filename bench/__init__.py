"""The benchmark harness: the same work, against M-Store and against Dovecot, on one machine in one run.

`bench/run` is the way in. `servers` starts and stops the two, `clients` speaks to both with the same code,
`meter` reads what the servers spent, `lines` holds one module per kind of work, `report` writes the table.
What is measured is the server's: CPU time of all its processes, their memory, and what a client waits.
"""
