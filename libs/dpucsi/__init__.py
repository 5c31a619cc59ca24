"""dpucsi: DPU-native storage for Kubernetes and KubeVirt."""
