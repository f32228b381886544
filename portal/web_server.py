"""gunicorn's settings, for `script/server` and the container alike: gunicorn -c python:portal.web_server."""

import os

wsgi_app = "portal.wsgi:application"
bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))

# Requests wait for the database and for slow clients, not for the processor: threads are cheaper than processes.
worker_class = "gthread"
threads = int(os.environ.get("WEB_THREADS", "8"))

# Uploads of many images over a slow line take their time; stopping does not wait for them.
timeout = 120
graceful_timeout = 8
keepalive = 15

accesslog = "-"
control_socket_disable = True
