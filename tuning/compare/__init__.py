"""Values of a parameter compared: tuned alike, then trained with seeds that no trial has used."""
