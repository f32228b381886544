"""What `script/bench` measures of the worker."""
