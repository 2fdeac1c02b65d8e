"""The operators in plain torch: what every other backend must equal bit for bit."""
