"""What `loramerge tune` tries, what it judges by, and where it writes down what it found."""
