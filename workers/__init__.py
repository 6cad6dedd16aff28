"""The processes: storemgr, the daemons and their workers; the only place with fork, signals and gevent."""
