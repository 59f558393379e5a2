"""Networks: from grey values to logits, class maps, outline and OOD score."""
