"""CustomResourceDefinitions, made of the typed models: what `kubectl apply` checks and shows."""
