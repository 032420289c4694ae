"""One module at a time: what the engines take, give, check and share."""
