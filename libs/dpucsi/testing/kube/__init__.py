"""A Kubernetes cluster on one machine, with the product deployed by its chart: `make kube`, tests/e2e/kube."""
