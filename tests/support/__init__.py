"""What tests share: real servers, our own processes, throw-away certificates."""
