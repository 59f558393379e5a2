"""The networks: grey values in, logits, class maps and an OOD score out."""
