"""What a clinic does with its invoices."""
