"""What `make bench` measures of the pool: whole proxies under load (`pool`), and the scheduler alone (`scheduler`)."""
